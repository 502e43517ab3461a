"""`lookalike index`: photos into the gallery."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import click

from deploy.cli.console import Console, command
from deploy.cli.indexing_option import in_place_option, label_from_option

if TYPE_CHECKING:
    from workers.messages import JobStatus

FAILURES_SHOWN = 20
SAME_SHOWN = 5
ANNOUNCED_BYTES = 10**9


@command("index", example="lookalike index ~/Pictures/shoes --label shoe")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="PATH...")
@label_from_option
@click.option(
    "--label", metavar="L", help="Label every photo L, whatever its folder; no folder's name replaces it later."
)
@in_place_option
@click.option("--verbose", is_flag=True, help="Name every file and folder that is left out, with the reason.")
def index(
    console: Console, paths: tuple[Path, ...], label_from: str, label: str | None, in_place: bool, verbose: bool
) -> None:
    """Add photos to the gallery and make them searchable.

    Folders are searched through, in order of names. Left out are hidden files, files whose name says that they are not
    photos, recycle bins, previews and the like, and what a file .lookalikeignore says, in the patterns of .gitignore.
    Files that cannot be read are listed with the reason and stop nothing. Adding the same photos again changes nothing,
    so an interrupted run is continued by running it again. Of a photo that lies in several folders, the first in order
    of paths gives the label. One that is in the trash is restored, and named.

    Photos are copied, so that whatever happens to the files, the gallery keeps them. With --in-place they are not: one
    that changes or goes is told by status and verify, and shown no more.
    """
    from deploy.cli.coverage_ledger import Ledger
    from deploy.cli.find_files import Walk
    from deploy.cli.upload_folder import index as run
    from deploy.cli.upload_folder import report
    from deploy.local.connection import connect
    from ml.data.photo_files import shown
    from workers import settings
    from workers.client import Client

    skipped: list[tuple[str, str]] = []

    def tell(path: Path, reason: str) -> None:
        skipped.append((shown(path), reason))
        if verbose:
            console.say(f"skipped: {shown(path)}: {reason}")

    walk, same, restored = Walk(paths, tell), dict[str, str](), list[str]()
    with connect(settings.load(), say=console.step) as connected:
        if not in_place and (size := walk.bytes()) > ANNOUNCED_BYTES:
            console.say(announcement(size, connected.storage_url))
        console.step("indexing")
        client = Client(connected)
        ledger = Ledger(client, paths)
        with console.progress("indexing") as progress:
            status = run(
                client,
                ledger.counted(walk),
                label=label,
                label_from_parent=label_from == "parent",
                in_place=in_place,
                on_same=same.__setitem__,
                on_restored=restored.append,
                on_begun=ledger.begin,
                progress=progress,
                say=console.say,
            )
        ledger.end(status, skipped, same)
        suggestions = client.suggestions()
    console.result(report(status, walk.skipped, same, restored))
    for path in restored[:SAME_SHOWN]:
        console.say(f"restored: {path} was in the trash")
    if len(restored) > SAME_SHOWN:
        console.say(f"restored: {len(restored) - SAME_SHOWN} more; --json lists them")
    show(console, status, walk.skipped, same)
    for suggestion in suggestions:
        console.say(suggestion)


def announcement(size: int, storage_url: str) -> str:
    """What copying that much will take, in a line."""
    folder = Path(storage_url.removeprefix("file://"))
    if "://" in storage_url and not storage_url.startswith("file://"):
        return f"copying up to {size / 1e9:.1f} GB to {storage_url}"
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    return (
        f"copying up to {size / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; disks that share blocks need none;"
        " --in-place leaves photos where they are"
    )


def show(console: Console, status: "JobStatus", skipped: int, same: Mapping[str, str] = MappingProxyType({})) -> None:
    """The finished job in words."""
    for path, kept in sorted(same.items())[:SAME_SHOWN]:
        console.say(f"same photo: {path} is {kept}, which gives the label")
    if len(same) > SAME_SHOWN:
        console.say(f"same photo: {len(same) - SAME_SHOWN} more; --json lists them")
    for failure in status.failures[:FAILURES_SHOWN]:
        console.say(f"left out: {failure.path}: {failure.reason}")
    if status.failed > FAILURES_SHOWN:
        console.say(f"left out: {status.failed - FAILURES_SHOWN} more; --json lists them")
    parts = [f"added {status.added}", f"unchanged {status.unchanged}"]
    parts += [f"relabelled {status.updated}"] if status.updated else []
    parts += [f"failed {status.failed}"]
    parts += [f"skipped {skipped} that are not photos (--verbose names them)"] if skipped else []
    rate = (status.added + status.unchanged + status.updated) / status.seconds if status.seconds else 0.0
    console.show(f"{', '.join(parts)} in {status.seconds:.1f} s ({rate:.0f} photos/s)")
