"""`lookalike coverage` and `why`: what was found in indexed folders, and why a photo is not in the gallery."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploy.cli.connected import client_of
from deploy.cli.console import Console, command, table

if TYPE_CHECKING:
    from workers.messages import FolderCoverage

_SHOWN = 20


@command("retry", example="lookalike coverage retry ~/Pictures")
@click.argument("folder", type=click.Path(path_type=Path))
def retry(console: Console, folder: Path) -> None:
    """Ask the watcher of a folder to try again what it left out.

    A folder that nobody watches is indexed again instead: `lookalike index DIR`.
    """
    from ml.data.photo_files import shown
    from workers.client import retry_folder

    name = shown(folder.absolute())
    with client_of(console) as client:
        retry_folder(client, name)
    console.result({"folder": name})
    console.show("what was left out is tried again within a few seconds")


@command("coverage", example="lookalike coverage --verbose", actions=[retry])
@click.option("--verbose", is_flag=True, help="Name every file that is not indexed, with the reason.")
def coverage(console: Console, verbose: bool) -> None:
    """List indexed folders, with what was found in each.

    Every file on the disk is indexed, left out because it cannot be read, waiting, or skipped because it is plainly no
    photo.
    """
    from deploy.local.connection import connect
    from workers import settings
    from workers.client import Client, folders

    with connect(settings.load(), say=console.step) as connected:
        listed = folders(Client(connected))
    console.result({"folders": [folder.to_json() | {"on_disk": folder.on_disk} for folder in listed]})
    if not listed:
        console.show("no folder was indexed yet: lookalike index DIR, or lookalike watch DIR")
        return
    rows = [
        [each.folder, *(f"{n:,}" for n in (each.on_disk, each.indexed, each.failed, each.waiting, each.skipped))]
        for each in listed
    ]
    console.show(table(rows, ["folder", "on the disk", "indexed", "left out", "waiting", "skipped"]))
    for each in listed:
        _name(console, each, verbose)


def _name(console: Console, folder: "FolderCoverage", verbose: bool) -> None:
    left_out = [*folder.failures, *(folder.skips if verbose else ())]
    for failure in left_out if verbose else left_out[:_SHOWN]:
        console.say(f"{failure.path}: {failure.reason}")
    if not folder.is_complete:
        console.say(
            f"{folder.folder}: being indexed by {folder.job}; if that has ended, it was cut short: run it again"
        )


@command("why", example="lookalike why ~/Pictures/IMG_0042.jpg")
@click.argument("photo", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def why(console: Console, photo: Path) -> None:
    """Say where a photo is, or why it is not in the gallery.

    It is looked for by its content, and by its name among the files that were left out. It is not kept.
    """
    from deploy.local.connection import connect
    from ml import files
    from ml.images import UnreadableImage
    from workers import settings
    from workers.client import Client, whereabouts

    try:
        data = files.read_regular(photo)
    except OSError as error:
        raise UnreadableImage(f"{photo} cannot be read: {error.strerror}") from error
    with connect(settings.load(), say=console.step) as connected:
        found = whereabouts(Client(connected), data, photo.name)
    console.result(found.to_json())
    console.show(f"{found.told} {found.next}".strip())
