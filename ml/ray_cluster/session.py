"""Ray for the length of one command: the cluster that RAY_ADDRESS names, or one of its own on this machine.

Ray's own processes listen on loopback, want a token that no one else has, and end with the block; there is no
dashboard. A process that has Ray already, such as a job on a cluster, keeps what it has.
"""

import contextlib
import logging
import os
import secrets
from collections.abc import Iterator

from ml.errors import LookalikeError

NAMESPACE = "lookalike"
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
        LookalikeError: Ray is not installed, or the cluster does not answer.
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

    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with _heeding_environment(token):
        ray.init(
            address="local",
            num_cpus=cpus or cores(),
            num_gpus=gpus,
            include_dashboard=False,
            namespace=NAMESPACE,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _node_ip_address="127.0.0.1",
        )
        try:
            yield
        finally:
            ray.shutdown()


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


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
