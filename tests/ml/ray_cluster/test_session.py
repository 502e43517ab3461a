"""A Ray of our own: nobody else reaches it or reads what it writes, nothing is left, and failures are one line."""

import stat
from pathlib import Path

import psutil
import pytest
import ray

from ml.errors import LookalikeError
from ml.ray_cluster.session import session


@pytest.fixture
def no_cluster(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def started(no_cluster):
    """Starting it takes seconds: one for the tests that only look."""
    with session(cpus=1):
        ray.get(ray.remote(lambda: None).remote())  # a process for work, too
        yield Path(ray._private.worker._global_node.get_session_dir_path()).parents[1]


def test_it_listens_on_loopback_and_its_folder_is_private(started):
    ours = [psutil.Process(), *psutil.Process().children(recursive=True)]
    listening = {
        (process.name(), socket.laddr.ip)
        for process in ours
        for socket in process.net_connections("inet")
        if socket.status == psutil.CONN_LISTEN
    }
    assert {name for name, _ in listening} >= {"gcs_server", "raylet"}
    assert {address for _, address in listening} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert stat.S_IMODE(started.stat().st_mode) == 0o700


def test_nothing_of_it_is_left(no_cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    before = set(Path("/tmp").glob("ray-*"))
    with session(cpus=1):
        (folder,) = set(Path("/tmp").glob("ray-*")) - before
    assert not folder.exists()


@pytest.mark.parametrize(
    "error",
    [
        Exception("The current node timed out during startup. This could happen\nbecause …"),
        RuntimeError("Failed to start GCS"),
        TimeoutError(),
    ],
)
def test_a_ray_that_does_not_start_is_one_line_with_a_hint(no_cluster, monkeypatch, error):
    def fail(**_options):
        raise error

    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(LookalikeError, match=r"^Ray does not start on this machine: ") as caught, session():
        pass
    assert "\n" not in caught.value.message
    assert "run this again" in caught.value.hint
