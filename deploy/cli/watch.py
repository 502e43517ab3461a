"""`lookalike watch`: the gallery follows folders."""

import os
from pathlib import Path

import click

from deploy.cli.console import Console, command
from deploy.cli.indexing_option import in_place_option, label_from_option


@command("watch", example="lookalike watch ~/Pictures --removed trash", has_json=False)
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="DIR...")
@click.option(
    "--removed",
    type=click.Choice(["keep", "trash"]),
    default="keep",
    show_default=True,
    help="What becomes of photos whose file is gone: they stay in the gallery, or go into the trash.",
)
@in_place_option
@label_from_option
@click.option(
    "--every",
    default=60.0,
    show_default=True,
    type=click.FloatRange(1, 86_400),
    metavar="S",
    help="Compare folders at least so often, in seconds: network drives do not tell of changes.",
)
def watch(
    console: Console, folders: tuple[Path, ...], removed: str, in_place: bool, label_from: str, every: float
) -> None:
    """Keep the gallery in line with folders.

    Until Ctrl-C. New photos are indexed when their files are whole, changed ones again; moved and renamed ones keep
    their labels, and a changed one keeps the label of what it was. Photos whose file is gone stay in the gallery; with
    --removed trash they go into the trash, and with them what a changed file held before. A folder of which nothing is
    left is taken for a drive that is away: nothing is removed. What is left out is what `lookalike index` leaves out.

    `lookalike up` does the same with the folders of LOOKALIKE_WATCH.
    """
    from deploy.cli.watching.follow import Following
    from deploy.cli.watching.watcher import Watcher
    from deploy.local.connection import Terminated, connect, terminable
    from workers import settings
    from workers.client import Client

    # `resolve` would lose the names that links carry.
    roots = [Path(os.path.abspath(folder)) for folder in folders]  # noqa: PTH100
    how = Following(in_place=in_place, label_from_parent=label_from == "parent", trash_removed=removed == "trash")
    with terminable(), connect(settings.load(), say=console.step) as connected:
        watcher = Watcher(Client(connected), roots, how, every_s=every, say=console.show)
        for root in roots:
            console.show(_told(root, trash_removed=how.trash_removed))
        try:
            watcher.run()
        except (KeyboardInterrupt, Terminated):
            console.say("stopped")


def _told(folder: Path, *, trash_removed: bool) -> str:
    """What is being done, in a line."""
    gone = "go into the trash" if trash_removed else "stay in the gallery (--removed trash moves them to the trash)"
    return f"watching {folder}: new and changed photos are indexed, moved ones keep their labels, removed ones {gone}"
