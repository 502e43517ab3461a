"""`lookalike index`: photos into the gallery."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploy.cli.console import Console, command

if TYPE_CHECKING:
    from workers.messages import JobStatus

FAILURES_SHOWN = 20


@command("index", example="lookalike index ~/Pictures/shoes --label shoe")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="PATH...")
@click.option(
    "--label-from",
    type=click.Choice(["parent", "none"]),
    default="parent",
    show_default=True,
    help="Label each photo with the name of the folder it lies in, or not at all.",
)
@click.option(
    "--label", metavar="L", help="Label every photo L, whatever its folder; no folder's name replaces it later."
)
def index(console: Console, paths: tuple[Path, ...], label_from: str, label: str | None) -> None:
    """Add photos to the gallery and make them searchable.

    Folders are searched through, in order of names; hidden files stay out, and so do files whose name says that
    they are not photos. Files that cannot be read are listed with the reason and stop nothing. Adding the same photos
    again changes nothing, so an interrupted run is continued by running it again.
    """
    from deploy.cli.find_files import Walk
    from deploy.cli.upload_folder import index as run
    from deploy.cli.upload_folder import report
    from deploy.local.connection import connect
    from workers import settings
    from workers.client import Client

    walk = Walk(paths)
    with connect(settings.load(), say=console.step) as connected:
        console.step("indexing")
        with console.progress("indexing") as progress:
            status = run(
                Client(connected),
                walk,
                label=label,
                label_from_parent=label_from == "parent",
                progress=progress,
                say=console.say,
            )
    console.result(report(status, walk.skipped))
    show(console, status, walk.skipped)


def show(console: Console, status: "JobStatus", skipped: int) -> None:
    """The finished job in words."""
    for failure in status.failures[:FAILURES_SHOWN]:
        console.say(f"left out: {failure.path}: {failure.reason}")
    if status.failed > FAILURES_SHOWN:
        console.say(f"left out: {status.failed - FAILURES_SHOWN} more; --json lists them")
    parts = [f"added {status.added}", f"unchanged {status.unchanged}"]
    parts += [f"relabelled {status.updated}"] if status.updated else []
    parts += [f"failed {status.failed}"]
    parts += [f"skipped {skipped} files that are not photos by name"] if skipped else []
    rate = (status.added + status.unchanged + status.updated) / status.seconds if status.seconds else 0.0
    console.show(f"{', '.join(parts)} in {status.seconds:.1f} s ({rate:.0f} photos/s)")
