"""`lookalike up`, `worker` and `web`: running the whole system, or one service of it."""

import dataclasses
import ipaddress
import os
from typing import TYPE_CHECKING, NoReturn

import click

from deploy.cli.console import Console, command

if TYPE_CHECKING:
    from workers.settings import Settings

_host = click.option("--host", default="127.0.0.1", show_default=True, help="Address that the portal listens on.")
_port = click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="And its port.")


@command("up", example="lookalike up --port 8080", has_json=False)
@_host
@_port
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Number of worker processes.")
def up(console: Console, host: str, port: int, workers: int) -> None:
    """Run everything on this machine.

    Starts the queue, workers and portal, keeps them running, and stops them on Ctrl-C. Everything is kept in
    LOOKALIKE_HOME. Any address but loopback needs LOOKALIKE_API_TOKENS: who reaches the portal sees every photo.
    """
    from deploy.local.connection import Terminated, terminable
    from deploy.local.stack import Stack
    from workers import settings

    own = settings.load()
    refuse_open_house(host, own)
    with terminable():
        try:
            with Stack(own, (host, port), workers, say=console.step, warn=console.say) as stack:
                console.show(f"Lookalike runs at {stack.address}")
                console.say(f"home {own.home}, logs in {own.home / 'logs'}; Ctrl-C stops it")
                stack.wait()
        except Terminated:
            console.say("stopped")


def refuse_open_house(host: str, own: "Settings") -> None:
    """The portal shows every photo to whoever reaches it: off loopback it must know them."""
    if own.api_tokens or host == "localhost":
        return
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        refusal = click.UsageError(f"--host {host} would show every photo to anyone who can reach this machine")
        refusal.hint = "set LOOKALIKE_API_TOKENS to secret tokens, or stay with 127.0.0.1"  # type: ignore[attr-defined]
        raise refusal


@command("worker", example="LOOKALIKE_REDIS_URL=redis://queue:6379/0 lookalike worker", has_json=False)
def worker(console: Console) -> None:
    """Run one worker in the foreground.

    It takes tasks from the queue of LOOKALIKE_REDIS_URL, or from the system that runs on this home.
    LOOKALIKE_QUEUES chooses which. Only one worker can hold the embedded store: more of them need LOOKALIKE_QDRANT_URL.
    """
    from deploy.local import extras
    from deploy.local.stack import worker_command

    extras.require("lookalike worker", "worker")
    _become(worker_command(), _connected("worker"))


@command("trainer", example="LOOKALIKE_REDIS_URL=redis://queue:6379/0 lookalike trainer", has_json=False)
def trainer(console: Console) -> None:
    """Run the training service in the foreground.

    It takes trainings and sweeps that the portal starts from the queue of LOOKALIKE_REDIS_URL, one at a time, where the
    portal has no PyTorch of its own. A run that is stopped keeps its finished epochs.
    """
    import sys

    from deploy.local import extras

    extras.require("lookalike trainer", "train")
    _become([sys.executable, "-m", "workers.trainer.service"], _connected("trainer"))


@command("web", example="LOOKALIKE_REDIS_URL=redis://queue:6379/0 lookalike web --port 8080", has_json=False)
@_host
@_port
def web(console: Console, host: str, port: int) -> None:
    """Run the portal alone in the foreground.

    It asks the workers behind the queue of LOOKALIKE_REDIS_URL, or of the system that runs on this home. Any
    address but loopback needs LOOKALIKE_API_TOKENS.
    """
    from deploy.local.stack import listen, portal_command

    own = _connected("web")
    refuse_open_house(host, own)
    listener = listen(host, port)
    listener.set_inheritable(True)
    shown = f"[{host}]" if ":" in host else host
    console.say(f"the portal is at http://{shown}:{listener.getsockname()[1]}")
    _become(portal_command(listener.fileno()), own)


def _connected(name: str) -> "Settings":
    from deploy.local.connection import running
    from workers import settings
    from workers.client import Unavailable

    own = settings.load()
    if own.redis_url:
        return own
    described = running(own)
    if described is None:
        raise Unavailable(
            f"there is no system that this {name} could join",
            hint="set LOOKALIKE_REDIS_URL, or run everything with: lookalike up",
        )
    return dataclasses.replace(own, redis_url=described.redis_url, storage=described.storage)


def _become(program: list[str], own: "Settings") -> NoReturn:
    """Turns this process into the service, so that signals and exit status are the service's."""
    from deploy.local.home import prepare
    from deploy.local.stack import service_environment

    prepare(own.home)
    os.chdir(own.home / "run")
    os.execve(program[0], program, service_environment(own))  # noqa: S606 - our own Python
