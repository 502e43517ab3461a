"""A worker that lives but answers nothing is started anew; one that answers is left alone."""

import pytest

from deploy.local import stack
from deploy.local.stack import Stack
from deploy.local.watchdog import Watchdog
from tests.processes import wait_for
from workers.client import Client, Overloaded, Unavailable
from workers.messages import LabelCount
from workers.settings import Settings

pytestmark = pytest.mark.usefixtures("stand_in_services")


class _Answering(Client):
    """A client whose questions end as a test wants."""

    ending: Exception | None = None
    questions = 0

    def labels(self) -> list[LabelCount]:
        self.questions += 1
        if self.ending:
            raise self.ending
        return []


@pytest.mark.parametrize(("ending", "restarts"), [(Unavailable("no answer"), 1), (None, 0), (Overloaded("busy"), 0)])
def test_only_silence_is_punished(home_settings: Settings, ending: Exception | None, restarts: int) -> None:
    with Stack(home_settings) as running:
        client = _Answering(running.settings)
        client.ending = ending
        runner = running.runner("worker")
        watchdog = Watchdog(client, runner, every_s=0.02, patience=3)
        wait_for(lambda: client.questions >= 3 and runner.restarts == restarts)
        if not restarts:
            wait_for(lambda: client.questions >= 10)
        watchdog.close()
        assert runner.restarts >= restarts if restarts else runner.restarts == 0


def test_a_system_with_one_worker_is_watched(home_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[str] = []

    class Seen(Watchdog):
        def __init__(self, client: Client, runner: stack.ServiceRunner) -> None:
            watched.append(runner.service.name)
            super().__init__(client, runner)

    monkeypatch.setattr(stack, "Watchdog", Seen)
    with Stack(home_settings):
        assert watched == ["worker"]
