"""`lookalike trash`, `trash restore` and `trash empty`: what was deleted, and whether it comes back."""

from datetime import UTC, datetime

import click

from deploy.cli.console import Console, command, table


@command("restore", example="lookalike trash restore 3f2b8c…")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
def restore(console: Console, ids: tuple[str, ...]) -> None:
    """Bring photos back from the trash, with their labels.

    Searches find them again when the command ends.
    """
    from deploy.cli.changed import told
    from deploy.local.connection import connect
    from workers import settings
    from workers.client import Client

    with connect(settings.load(), say=console.step) as connected:
        done = told(console, Client(connected).restore(ids))
    skipped = [each.to_json() for each in done.skipped]
    console.result({"job": done.job, "restored": len(done.ids), "not_there": len(skipped), "skipped": skipped})
    console.show(f"restored {len(done.ids)}")


@command("empty", example="lookalike trash empty")
@click.argument("ids", nargs=-1, metavar="[ID...]")
def empty(console: Console, ids: tuple[str, ...]) -> None:
    """Remove photos that are in the trash for good: those named, or all of them.

    Original, thumbnail and what was known of them are removed. Nothing brings them back but a backup.
    """
    from deploy.cli.changed import told
    from deploy.local.connection import connect
    from workers import settings
    from workers.client import Client

    with connect(settings.load(), say=console.step) as connected:
        done = told(console, Client(connected).changes.empty_trash(ids or None))
    removed = len(done.ids)
    console.result({"removed": removed, "skipped": [each.to_json() for each in done.skipped]})
    console.show(f"removed {removed} for good" if removed else "the trash is empty")


@command("trash", example="lookalike trash", actions=[restore, empty])
def trash(console: Console) -> None:
    """List deleted photos, the latest first.

    `lookalike delete` and the portal move photos here. They can be restored for LOOKALIKE_TRASH_DAYS days; then they
    are removed for good. Indexing the file of one restores it, too.
    """
    from deploy.local.connection import connect
    from workers import settings
    from workers.client import Client

    with connect(settings.load(), say=console.step) as connected:
        images, total = Client(connected).changes.trashed()
    console.result({"images": [image.to_json() for image in images], "total": total})
    if not images:
        console.show("the trash is empty")
        return
    rows = [
        [image.id, image.label or "–", _day(image.deleted_at), _day(image.expires_at), image.path] for image in images
    ]
    console.show(table(rows, ["id", "label", "deleted", "kept until", "photo"]))


def _day(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d}"
