"""Ray is given minutes to start, and a person is told why it takes long."""

import logging
import os
import signal
import subprocess
import sys
import threading

import pytest
import ray

from ml.errors import LookalikeError
from ml.ray_cluster import slow_start
from ml.ray_cluster.session import session


@pytest.fixture
def started_with(monkeypatch):
    """What Ray found in the environment when it was started; it is not."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    found: dict[str, str] = {}

    def init(**_options: object) -> None:
        found.update(os.environ)
        raise TimeoutError("the node did not register")

    monkeypatch.setattr(ray, "init", init)
    return found


def test_every_wait_at_the_start_is_longer_than_rays_own(started_with, monkeypatch):
    for name in slow_start.limits():
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(LookalikeError), session():
        pass
    waits = {name: int(started_with[name]) / (1000 if name.endswith("_ms") else 1) for name in slow_start.limits()}
    assert len(waits) == 4 and min(waits.values()) > 30 and max(waits.values()) == slow_start.LIMIT_S
    assert not slow_start.limits().keys() & os.environ.keys()


def test_a_limit_that_someone_set_stays(started_with, monkeypatch):
    monkeypatch.setenv("RAY_agent_register_timeout_ms", "7")
    with pytest.raises(LookalikeError), session():
        pass
    assert started_with["RAY_agent_register_timeout_ms"] == "7"


def test_what_takes_long_is_said_with_the_reason_while_it_does(monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (31.2, 30.0, 29.0))
    heard: list[str] = []
    said = threading.Event()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())
            said.set()

    listener = Listener()
    slow_start.log.addHandler(listener)
    try:
        with slow_start.said(after_s=0.01):
            assert said.wait(30)
    finally:
        slow_start.log.removeHandler(listener)
    assert len(heard) == 1 and "load 31.2" in heard[0] and f"{slow_start.TRIES} times" in heard[0]


def test_a_busy_machine_is_named_when_ray_does_not_start(started_with, monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (31.2, 30.0, 29.0))
    with pytest.raises(LookalikeError, match=r"did not register; the machine is busy \(load 31\.2 on"), session():
        pass


def test_an_idle_machine_is_not_called_busy(monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (0.1, 0.1, 0.1))
    assert slow_start.busy() == ""


def test_what_rays_processes_complained_of_is_found_in_their_logs(tmp_path):
    logs = tmp_path / "session_2026-11-27_18-00-00" / "logs"
    logs.mkdir(parents=True)
    (logs / "raylet.out").write_text(
        "[2026-11-27 18:28:55,773 I 25594 25594] (raylet) accessor.cc:475: alive\n"
        "[2026-11-27 18:29:55,773 E 25594 25594] (raylet) agent_manager.cc:86: the agent did not register\n"
        "[2026-11-27 18:29:56,000 I 25594 25594] (raylet) main.cc:1: bye\n"
    )
    (logs / "gcs_server.out").write_text("[2026-11-27 18:28:55,773 I 1 1] (gcs_server) all is well\n")
    (logs / "dashboard_agent.log").write_text("2026-11-27 18:28:56\tERROR agent.py:12 -- no port\n")
    agent, raylet = slow_start.last_words(tmp_path).splitlines()
    assert agent.startswith("dashboard_agent.log: ") and agent.endswith("no port")
    assert raylet.startswith("raylet.out: ") and raylet.endswith("the agent did not register")
    assert slow_start.last_words(tmp_path / "none") == ""


def test_a_start_that_runs_out_of_time_is_tried_again(monkeypatch, caplog):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    folders: list[str] = []

    def init(*, _temp_dir: str, **_options: object) -> None:
        folders.append(_temp_dir)
        if len(folders) < 3:
            raise Exception("The current node timed out during startup. This could happen because …")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with session():
        assert len(set(folders)) == 3
    assert "try 2 of 4" in caplog.text


def test_what_would_fail_again_is_tried_once(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    tries: list[None] = []

    def init(**_options: object) -> None:
        tries.append(None)
        raise RuntimeError("Failed to start GCS")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(LookalikeError, match="Failed to start GCS"), session():
        pass
    assert len(tries) == 1


def test_processes_of_a_start_that_failed_are_ended_and_no_others(tmp_path):
    sleep = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with (
        subprocess.Popen([*sleep, f"--temp-dir={tmp_path}"], stdin=subprocess.PIPE) as theirs,
        subprocess.Popen(sleep, stdin=subprocess.PIPE) as other,
    ):
        slow_start.end_processes_of(str(tmp_path))
        assert theirs.wait(30) == -signal.SIGKILL
        assert other.poll() is None
        other.kill()
