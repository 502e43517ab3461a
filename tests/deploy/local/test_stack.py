"""One system a home: it starts, describes itself, stops, refuses a second, and takes over after a kill."""

import json
import os
import signal
import socket
import stat
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from deploy.local import reaper, stack, valkey
from deploy.local.locks import AlreadyRunning
from deploy.local.stack import PortTaken, Stack
from deploy.local.supervisor import ServiceFailed
from ml.errors import LookalikeError
from tests.deploy import stand_ins
from tests.processes import free_port, wait_for
from workers.settings import Settings

pytestmark = pytest.mark.usefixtures("stand_in_services")
Elsewhere = Callable[[str], "subprocess.Popen[str]"]


def test_it_runs_a_queue_that_only_its_owner_can_reach(home_settings: Settings) -> None:
    with Stack(home_settings) as running:
        address = running.settings.redis_url
        queue = redis.Redis.from_url(address)
        assert queue.ping()
        assert queue.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert queue.config_get("appendonly") == {"appendonly": "yes"}
        assert queue.config_get("bind") == {"bind": "127.0.0.1"}
        port = int(address.rpartition(":")[2].partition("/")[0])
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=port).ping()
        for private in ("valkey/valkey.conf", "run/stack.json"):
            assert stat.S_IMODE((home_settings.home / private).stat().st_mode) == 0o600


def test_the_queue_keeps_what_it_holds_across_starts(home_settings: Settings) -> None:
    with Stack(home_settings) as running:
        redis.Redis.from_url(running.settings.redis_url).set("job", "kept")
    with Stack(home_settings) as running:
        assert redis.Redis.from_url(running.settings.redis_url).get("job") == b"kept"


def test_the_queue_comes_back_at_the_same_address(home_settings: Settings) -> None:
    with Stack(home_settings) as running:
        queue = redis.Redis.from_url(running.settings.redis_url)
        queue.set("job", "kept")
        assert queue.execute_command("WAITAOF", 1, 0, 60_000)[0] == 1  # a second's writes may be lost otherwise
        runner = running.runner("queue")
        assert runner.pid
        os.kill(runner.pid, signal.SIGKILL)
        wait_for(lambda: runner.restarts == 1 and runner.is_ready)
        assert queue.get("job") == b"kept"


def test_the_queue_takes_another_port_when_a_program_was_faster(
    home_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        ports = iter([taken, free_port()])
        monkeypatch.setattr(valkey, "_free_port", lambda: next(ports))
        with Stack(home_settings) as running:
            assert redis.Redis.from_url(running.settings.redis_url).ping()
        monkeypatch.setattr(valkey, "_free_port", lambda: taken)
        with pytest.raises(ServiceFailed, match=f"the queue did not start: .* port {taken}"), Stack(home_settings):
            pass


def test_the_portal_answers_while_it_restarts(home_settings: Settings) -> None:
    with Stack(home_settings, portal=("127.0.0.1", 0)) as running:
        pid = running.runner("portal").pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        with urllib.request.urlopen(f"{running.address}/api/v1/health", timeout=15) as answer:
            assert answer.status == 200


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    home_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("no_proxy", "example.org")
    with Stack(home_settings, portal=("127.0.0.1", 0)) as running:
        environment = running.runner("worker").service.environment
        assert environment["no_proxy"] == environment["NO_PROXY"] == "example.org,localhost,127.0.0.1,::1"


def test_it_describes_itself_while_it_runs(home_settings: Settings) -> None:
    path = home_settings.home / "run" / "stack.json"
    with Stack(home_settings, portal=("127.0.0.1", 0)) as running:
        described = json.loads(path.read_text())
        assert described["pid"] == os.getpid()
        assert described["portal"] == running.address
        assert described["redis_url"] == running.settings.redis_url
    assert not path.exists()


def test_it_says_what_it_does(home_settings: Settings) -> None:
    lines: list[str] = []
    with Stack(home_settings, portal=("127.0.0.1", 0), say=lines.append):
        pass
    assert lines[:3] == ["starting the queue", "starting the worker", "starting the portal"]
    assert lines[3].startswith("ready after ")


def test_it_stops_everything_within_ten_seconds(home_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    stubborn = [service.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN") for service in stand_ins.WORKER]
    monkeypatch.setattr(stack, "worker_command", lambda: stubborn)
    with Stack(home_settings, portal=("127.0.0.1", 0)) as running:
        groups = [running.runner(name).pid for name in ("queue", "worker", "portal")]
        started = time.monotonic()
    assert time.monotonic() - started < 10
    assert not any(reaper.is_alive(group) for group in groups if group)


def test_a_second_system_on_the_same_home_is_refused(home_settings: Settings, elsewhere: Elsewhere) -> None:
    first = elsewhere(
        "with Stack(settings, portal=('127.0.0.1', 0)) as s: print(s.address, flush=True); time.sleep(600)"
    )
    assert first.stdout
    address = first.stdout.readline().strip()
    with pytest.raises(AlreadyRunning, match=f"process {first.pid}, {address}"), Stack(home_settings):
        pass


def test_after_a_kill_it_starts_at_once_and_everything_is_there(home_settings: Settings, elsewhere: Elsewhere) -> None:
    first = elsewhere(
        """
        with Stack(settings, portal=("127.0.0.1", 0)) as running:
            import redis
            redis.Redis.from_url(running.settings.redis_url).set("job", "kept")
            print(*(running.runner(name).pid for name in ("queue", "worker", "portal")), running.reaper_pid, flush=True)
            time.sleep(600)
        """
    )
    assert first.stdout
    groups = [int(group) for group in first.stdout.readline().split()]
    first.kill()
    with Stack(home_settings) as running:  # at once: it waits for the old services itself
        assert not any(reaper.is_alive(group) for group in groups)
        assert redis.Redis.from_url(running.settings.redis_url).get("job") == b"kept"


def test_a_port_that_is_taken_is_named(home_settings: Settings) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with (
            pytest.raises(PortTaken, match=f"port {port} of 127.0.0.1 is taken"),
            Stack(home_settings, ("127.0.0.1", port)),
        ):
            pass
    with Stack(home_settings):  # the refusal gave the home back
        pass


def test_a_worker_that_fails_ends_the_start_with_its_words(
    home_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "worker_command", lambda: stand_ins.FAILING_WORKER)
    with pytest.raises(ServiceFailed, match="the worker did not start: the store is damaged"), Stack(home_settings):
        pass
    assert not (home_settings.home / "run" / "stack.json").exists()


def test_several_workers_want_a_store_of_their_own(home_settings: Settings) -> None:
    with pytest.raises(LookalikeError, match="belongs to one worker"):
        Stack(home_settings, workers=2)


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with (
        pytest.raises(LookalikeError, match="cannot write to"),
        Stack(Settings(home=tmp_path / "file" / "home")),
    ):
        pass
