"""`lookalike backup`, `restore` and `migrate`: taking everything somewhere else."""

from typing import TYPE_CHECKING

import click

from deploy.cli.console import Console, command

if TYPE_CHECKING:
    from workers.client import Client
    from workers.messages import JobStatus


@command("backup", example="lookalike backup /mnt/disk/lookalike-backup")
@click.argument("to", metavar="FOLDER|URL")
def backup(console: Console, to: str) -> None:
    """Copy everything to an archive: originals, labels, vectors, models.

    FOLDER must be reachable by the workers; a URL such as s3://bucket/prefix works too. A second backup to the same
    place copies what is new and removes what has been deleted here. Searches go on meanwhile.
    """
    from deploy.local.connection import connect
    from workers import settings
    from workers.client import Client
    from workers.client.backup import Backup

    with connect(settings.load(), say=console.step) as connected:
        client, url = Client(connected), _url(to)
        backups = Backup(client)
        now = _follow(console, client, backups.archive(url), "copying")
        backups.finish_archive(url, now)
    console.result({"job": now.job, "to": url, **_counts(now)})
    console.show(f"backed up {_words(now)} to {to}")


@command("restore", example="lookalike restore /mnt/disk/lookalike-backup")
@click.argument("source", metavar="FOLDER|URL")
def restore(console: Console, source: str) -> None:
    """Bring an archive's photos, vectors and models here.

    Photos that are here and not in the archive stay. The model that was active when the backup was made answers then.
    """
    from deploy.local.connection import connect
    from workers import settings
    from workers.client import Client
    from workers.client.backup import Backup

    with connect(settings.load(), say=console.step) as connected:
        client, url = Client(connected), _url(source)
        backups = Backup(client)
        now = _follow(console, client, backups.restore(url), "restoring")
        backups.finish_restore(url)
        repair = _follow(console, client, client.verify(repair=True, quick=True), "checking")
    console.result({"job": now.job, "from": url, **_counts(now), "repaired": repair.added + repair.removed})
    console.show(f"restored {_words(now)} from {source}")


@command("migrate", example="lookalike migrate --to-qdrant http://qdrant:6333 --to-storage s3://photos/lookalike")
@click.option("--to-qdrant", default="", metavar="URL", help="A Qdrant server; its key is LOOKALIKE_QDRANT_API_KEY.")
@click.option("--to-storage", default="", metavar="URL", help="Another storage, such as s3://bucket/prefix.")
def migrate(console: Console, to_qdrant: str, to_storage: str) -> None:
    """Copy everything to servers: Qdrant, object storage, or both.

    What arrived is compared with what was sent. This home stays as it is; set LOOKALIKE_QDRANT_URL and
    LOOKALIKE_STORAGE to the new places to use them. Interrupted, run it again.
    """
    from deploy.local.connection import connect
    from workers import settings
    from workers.client import Client
    from workers.client.backup import Backup

    if not to_qdrant and not to_storage:
        raise click.UsageError("name a target: --to-qdrant, --to-storage, or both")
    with connect(settings.load(), say=console.step) as connected:
        client = Client(connected)
        backups = Backup(client)
        now = _follow(console, client, backups.migrate(to_storage and _url(to_storage), to_qdrant), "copying")
    console.result({"job": now.job, "to_qdrant": to_qdrant, "to_storage": to_storage, **_counts(now)})
    console.show(f"copied and compared {_words(now)}")
    for name, value in (("LOOKALIKE_QDRANT_URL", to_qdrant), ("LOOKALIKE_STORAGE", to_storage)):
        if value:
            console.show(f"from now on: {name}={value}")


def _follow(console: Console, client: "Client", job: str, doing: str) -> "JobStatus":
    from ml.errors import LookalikeError

    with client.stopping(job), console.progress(doing) as progress:
        for now in client.follow(job):
            progress(now.done, now.total)
    if now.state != "done" or now.failed:
        reason = now.failures[0].reason if now.failures else f"the job was {now.state}"
        raise LookalikeError(f"not everything was copied: {reason}", hint="run it again; what is there stays")
    if left_out := int(now.detail.get("left_out", 0)):
        console.say(f"left out: {left_out} files that are damaged or gone; lookalike verify names them")
    return now


def _counts(now: "JobStatus") -> dict[str, int]:
    return {name: int(now.detail.get(name, 0)) for name in ("files", "points", "left_out")}


def _words(now: "JobStatus") -> str:
    counts = _counts(now)
    return f"{counts['files']} files and {counts['points']} vectors"


def _url(place: str) -> str:
    from workers.settings import expanded

    return place if "://" in place else f"file://{expanded(place).resolve()}"
