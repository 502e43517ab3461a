"""A Ray of our own: nobody else reaches it or reads what it writes, nothing is left, and failures are one line."""

import os
import stat
import tempfile
from pathlib import Path

import grpc
import psutil
import pytest
import ray

from ml.errors import LookalikeError
from ml.ray_cluster.session import session

pytestmark = pytest.mark.timeout(900)  # on a busy machine Ray takes minutes to start, and a second try


@pytest.fixture
def no_cluster(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


class TestOtherUsers:
    @pytest.fixture(scope="class")
    def started(self):
        """Starting it takes seconds: one for the tests that only look."""
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("RAY_ADDRESS", raising=False)
            with session(cpus=1):
                ray.get(ray.remote(lambda: None).remote())  # a process for work, too
                yield Path(ray._private.worker._global_node.get_session_dir_path()).parents[1]

    def test_it_listens_on_loopback_and_its_folder_is_private(self, started):
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

    @pytest.mark.usefixtures("started")
    def test_whoever_reaches_it_needs_its_token(self):
        with grpc.insecure_channel(ray.get_runtime_context().gcs_address) as line:
            ask = line.unary_unary("/ray.rpc.InternalKVGcsService/InternalKVKeys")
            for token in ("", "a" * 64):
                with pytest.raises(grpc.RpcError) as refused:
                    ask(b"", metadata=[("authorization", f"Bearer {token}")] if token else [], timeout=60)
                assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert ask(b"", metadata=[("authorization", f"Bearer {os.environ['RAY_AUTH_TOKEN']}")], timeout=60)


def test_nothing_of_it_is_left(no_cluster, monkeypatch):
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as place:  # the paths of Ray's sockets must be short
        monkeypatch.setenv("RAY_TMPDIR", place)
        with session(cpus=1):
            (folder,) = Path(place).glob("ray-*")
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
