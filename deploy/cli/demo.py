"""`lookalike demo`: the whole system at work on some photos, for someone who has just arrived."""

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deploy.cli.console import Console, command
from deploy.local import extras

if TYPE_CHECKING:
    from deploy.local.stack import Stack
    from workers.settings import Settings

_PORTS_TRIED = 20


@command("demo", example="lookalike demo --photos ~/Pictures")
@click.option(
    "--photos",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Your own photos; without it some made-up products are drawn.",
)
@click.option(
    "--once", is_flag=True, help="Print the results of one search and stop, instead of keeping the portal open."
)
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="The portal's port, or the next free one.",
)
def demo(console: Console, photos: Path | None, once: bool, port: int) -> None:
    """Show the whole system at work on some photos.

    Starts everything on this machine, adds the photos, searches with one of them, and keeps the portal open
    until Ctrl-C. Everything is kept in ./.lookalike, or in LOOKALIKE_HOME when that is set.
    """
    from deploy.local.connection import Terminated, running, terminable
    from deploy.local.stack import require_packages
    from workers import settings

    current = settings.load()
    if not os.environ.get("LOOKALIKE_HOME"):
        current = dataclasses.replace(current, home=Path.cwd() / ".lookalike")
    described = None if current.redis_url else running(current)
    if not described:
        require_packages(current)
    photos = photos or _drawn(console, current)
    if described:
        console.say("using the system that already runs on this home")
        joined = dataclasses.replace(current, redis_url=described.redis_url, storage=described.storage)
        console.result(_tour(console, joined, photos) | {"portal": described.portal})
        if described.portal:
            console.show(f"\nthe portal is open at {described.portal}")
        return
    with terminable():
        try:
            with contextlib.ExitStack() as hold:
                stack = _start(console, hold, current, port)
                console.result(_tour(console, stack.settings, photos) | {"portal": stack.address})
                _offer_training(console)
                if not once:
                    console.show(f"\nthe portal is open at {stack.address} – Ctrl-C stops everything")
                    stack.wait()
        except Terminated:
            console.say("stopped")


def _offer_training(console: Console) -> None:
    if not extras.is_installed("train"):
        install = extras.how_to_install("train")
        console.show(f"\nto train on labels of your own, install training's packages: {install}")


def _drawn(console: Console, current: "Settings") -> Path:
    from deploy import demo_photos

    folder = current.home / "demo-photos"
    if not (folder / ".complete").exists():
        console.step("drawing demo photos")
        demo_photos.make(folder)
        (folder / ".complete").touch()
    return folder


def _start(console: Console, hold: contextlib.ExitStack, current: "Settings", port: int) -> "Stack":
    """A running system at the first free port from `port` on."""
    from deploy.local.stack import PortTaken, Stack

    for candidate in [*range(port, min(port + _PORTS_TRIED, 65536)), 0]:
        stack = Stack(current, ("127.0.0.1", candidate), say=console.step, warn=console.say)
        try:
            return hold.enter_context(stack)
        except PortTaken:
            continue
    raise AssertionError("port 0 is always free")


def _tour(console: Console, connected: "Settings", photos: Path) -> dict[str, Any]:
    """Adds the photos and searches with one of them; says what happens.

    Returns:
        The reports of both, for --json.
    """
    from deploy.cli import gallery
    from deploy.cli import index as index_command
    from deploy.cli.coverage_ledger import Ledger
    from deploy.cli.find_files import Walk
    from deploy.cli.upload_folder import index, report
    from ml.data.photo_files import shown
    from ml.errors import LookalikeError
    from workers.client import Client

    skipped: list[tuple[str, str]] = []
    same: dict[str, str] = {}
    walk = Walk([photos], lambda path, reason: skipped.append((shown(path), reason)))
    client = Client(connected)
    ledger = Ledger(client, [photos])
    with console.progress("indexing") as progress:
        status = index(client, ledger.counted(walk), on_same=same.__setitem__, on_begun=ledger.begin, progress=progress)
    ledger.end(status, skipped, same)
    index_command.show(console, status, walk.skipped)
    left_out = {failure.path for failure in status.failures}
    query = next(
        (candidate for candidate in Walk([photos]) if not candidate.reason and candidate.display_path not in left_out),
        None,
    )
    if query is None:
        raise LookalikeError(f"there are no photos in {photos}", hint="give a folder with photos: --photos DIR")
    answer = client.search(query.path.read_bytes(), k=6)
    console.show(f"\nthe photos most like {query.display_path}:")
    gallery.show_results(console, answer)
    return {"query": query.display_path, "index": report(status, walk.skipped), "search": answer.to_json()}
