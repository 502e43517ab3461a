"""What a supervisor says of its services can be read while it lives, on a full disk too, and not afterwards."""

import os
from pathlib import Path

import pytest

from workers.messages import ServiceStatus
from workers.supervision import Supervision, SupervisionFile, shortened

RUNNING = ServiceStatus("queue", "running")
ENDED = ServiceStatus("worker", "ended", 3, "signal SIGKILL", retry_at=0.0)


def test_nobody_supervises_an_empty_home(tmp_path: Path) -> None:
    assert Supervision.read(tmp_path) is None


def test_what_was_said_last_is_read(tmp_path: Path) -> None:
    file = SupervisionFile(tmp_path, "lookalike up")
    file.write([RUNNING])
    file.write([RUNNING, ENDED])
    said = Supervision.read(tmp_path)
    assert said == Supervision("lookalike up", os.getpid(), str(tmp_path / "logs"), (RUNNING, ENDED))
    assert said.problems() == [
        f"the worker ended (signal SIGKILL); `lookalike up` (process {os.getpid()}) starts it again now; "
        f"see {tmp_path}/logs"
    ]
    file.close()
    assert Supervision.read(tmp_path) is None


def test_what_a_killed_supervisor_left_is_not_believed(tmp_path: Path) -> None:
    file = SupervisionFile(tmp_path, "lookalike up")
    file.write([ENDED])
    os.close(file._descriptor)  # as the kernel does for a process that ends
    assert (tmp_path / "run" / "services.json").exists()
    assert Supervision.read(tmp_path) is None


def test_the_file_never_grows(tmp_path: Path) -> None:
    file = SupervisionFile(tmp_path, "lookalike up")
    path = tmp_path / "run" / "services.json"
    before = path.stat().st_size, path.stat().st_blocks
    file.write([ServiceStatus(f"worker {number}", "ended", 1, shortened("x" * 5000)) for number in range(64)])
    said = Supervision.read(tmp_path)
    assert said and len(said.services) == 64
    assert (path.stat().st_size, path.stat().st_blocks) == before
    file.close()


def test_saying_something_never_fails(tmp_path: Path) -> None:
    file = SupervisionFile(tmp_path, "lookalike up")
    file.close()
    file.write([RUNNING])


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"services": 1}'])
def test_a_file_that_makes_no_sense_says_nothing(tmp_path: Path, content: bytes) -> None:
    file = SupervisionFile(tmp_path, "lookalike up")
    (tmp_path / "run" / "services.json").write_bytes(content)
    assert Supervision.read(tmp_path) is None
    file.close()
