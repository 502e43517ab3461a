"""Files on their way into the gallery while a part that they need is away."""

from pathlib import Path
from typing import Any

import pytest

from deploy.cli import upload_folder
from deploy.cli.find_files import Walk
from deploy.cli.upload_folder import Patience, index
from ml.storage import StorageFailed
from tests.deploy.cli.stand_in import StandInClient
from workers.gallery import Added


class Client(StandInClient):
    """Stores files unless its storage is away."""

    def __init__(self, failures: dict[str, list[StorageFailed]]) -> None:
        super().__init__()
        self.failures = failures

    def add(self, source: Path, **_: Any) -> Added:
        if errors := self.failures.get(source.name):
            raise errors.pop(0)
        return Added(source.name, is_new=True)


@pytest.fixture
def photos(tmp_path: Path) -> Walk:
    for n in range(8):
        (tmp_path / f"{n}.jpg").write_bytes(b"x")
    return Walk([tmp_path])


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    wait = upload_folder.threading.Event.wait
    # Who waits without an end, as whoever starts a thread does for its beginning, still does.
    monkeypatch.setattr(
        upload_folder.threading.Event, "wait", lambda self, timeout=None: wait(self, None if timeout is None else 0)
    )


def away() -> StorageFailed:
    return StorageFailed("the storage s3://photos does not answer: reset", passes=True)


def run(client: Any, photos: Walk) -> list[str]:
    told: list[str] = []
    index(client, photos, progress=lambda done, known: None, say=told.append)
    return told


@pytest.mark.usefixtures("pauses")
def test_a_storage_that_is_away_for_a_while_costs_no_photo_and_is_told_once(photos: Walk) -> None:
    client = Client({"3.jpg": [away(), away(), away()]})
    told = run(client, photos)
    assert not client.filled.failures
    assert sorted(client.filled.ids) == [f"{n}.jpg" for n in range(8)]
    assert told == ["waiting: the storage s3://photos does not answer: reset", "going on"]


def test_what_was_stored_is_handed_over_when_the_command_ends(photos: Walk) -> None:
    client = Client({"0.jpg": [StorageFailed("the storage s3://photos refused: 403", hint="check the keys")]})
    with pytest.raises(StorageFailed, match="refused"):
        run(client, photos)
    assert client.filled.ids, "photos that were read meanwhile"
    assert "0.jpg" not in client.filled.ids
    assert client.filled.is_closed


@pytest.mark.usefixtures("pauses")
def test_waiting_ends_at_the_limit() -> None:
    def fail() -> None:
        raise away()

    with pytest.raises(StorageFailed):
        Patience(lambda line: None, longest_s=0).out(fail)
