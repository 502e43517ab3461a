"""Ray for the length of one command: the cluster that RAY_ADDRESS names, or one of its own on this machine.

Ray's own processes listen on loopback, want a token that no one else has, keep what they write in a folder that no one
else may enter, and end with the block; there is no dashboard. A process that has Ray already, such as a job on a
cluster, keeps what it has.
"""

import contextlib
import logging
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ml import cores
from ml.errors import LookalikeError
from ml.ray_cluster import slow_start

log = logging.getLogger(__name__)

NAMESPACE = "lookalike"
# Linux takes 107 bytes for a socket's path, macOS 103; ray-XXXXXXXX/r/session_…/sockets/plasma_store are 84 of them.
_LONGEST_PLACE = 18
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
}


@contextlib.contextmanager
def session(*, cpus: int | None = None, gpus: int | None = None) -> Iterator[None]:
    """Ray, started or joined.

    Args:
        cpus: of a Ray on this machine; None for the cores that there are.
        gpus: of a Ray on this machine; None for those that there are.

    Raises:
        LookalikeError: Ray is not installed or does not start, the machine has fewer GPUs, or the cluster does not
            answer.
    """
    try:
        import ray
    except ImportError as error:
        raise LookalikeError("Ray is not installed", hint="pip install 'lookalike[train]'") from error
    if ray.is_initialized():
        yield
        return
    with _environment(_QUIET):
        address = os.environ.get("RAY_ADDRESS", "")
        if address and address != "local":
            with _joined(address):
                yield
        else:
            with _own(cpus, gpus):
                yield


@contextlib.contextmanager
def _joined(address: str) -> Iterator[None]:
    import ray

    try:
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise LookalikeError(
            f"the Ray cluster at {address} does not answer", hint="correct RAY_ADDRESS, or unset it to train here"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _own(cpus: int | None, gpus: int | None) -> Iterator[None]:
    import ray

    from ml.training.process_group import check_gpus_here  # imports torch

    check_gpus_here(gpus)
    own = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        # Processes of a training talk to each other on this machine alone, too.
        "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo",
        **slow_start.limits(),
    }
    processors = cpus or cores.available()
    with _on_loopback(), _heeding_environment(own), contextlib.ExitStack() as folders:
        for tries in range(1, slow_start.TRIES + 1):
            error = _error_of_start(folders.enter_context(_private_folder()), processors, gpus)
            if error is None or not slow_start.is_out_of_time(error):
                break
            log.warning("Ray did not start in time: try %d of %d", tries, slow_start.TRIES)
        if error is not None:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            busy = slow_start.busy()
            raise LookalikeError(
                f"Ray does not start on this machine: {reason}{busy and f'; {busy}'}",
                hint="give it memory, processes and time: end other heavy programs, then run this again with --debug",
            ) from error
        try:
            yield
        finally:
            ray.shutdown()


def _error_of_start(folder: str, cpus: int, gpus: int | None) -> Exception | None:
    """Starts Ray. None when it runs; else nothing of it is left."""
    import ray

    try:
        with slow_start.said():
            ray.init(
                address="local",
                include_dashboard=False,
                namespace=NAMESPACE,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _node_ip_address="127.0.0.1",
                _temp_dir=folder,
                num_cpus=cpus,
                num_gpus=gpus,
            )
    except Exception as error:  # noqa: BLE001 - Ray has no family of its own here: it raises Exception itself
        ray.shutdown()
        log.debug("Ray's own logs end with:\n%s", slow_start.last_words(Path(folder)) or "no error")
        slow_start.end_processes_of(folder)
        return error
    return None


@contextlib.contextmanager
def _private_folder() -> Iterator[str]:
    """For Ray's sockets and logs: mode 0700, and gone after the block.

    Ray's own default is a folder in /tmp that everybody may read, and it opens whatever folder it is given: it gets one
    inside ours. The path of a socket has to be short, which a TMPDIR may not be.
    """
    place = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    folder = tempfile.mkdtemp(prefix="ray-", dir=place if len(place) <= _LONGEST_PLACE else "/tmp")  # noqa: S108
    try:
        yield f"{folder}/r"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Makes Ray take 127.0.0.1 for this machine's address, as it does on macOS.

    Elsewhere it replaces that by an address that others can reach, and then its servers listen on all of them.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        with _environment({ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}):  # for the processes that Ray starts
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextlib.contextmanager
def _heeding_environment(values: dict[str, str]) -> Iterator[None]:
    """Ray reads its switches once, when it is imported; here it is made to read them anew, before and after."""
    import importlib

    core = importlib.import_module("ray._raylet")  # compiled: type checkers do not see into it

    def read() -> None:
        core.Config.initialize("")
        core.AuthenticationTokenLoader.instance().reset_cache()

    try:
        with _environment(values):
            read()
            yield
    finally:
        read()


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
