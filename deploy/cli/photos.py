"""`lookalike photos` and `undo`: what the gallery holds, and taking a change of it back."""

from datetime import datetime

import click

from deploy.cli.connected import client_of
from deploy.cli.console import Console, command, table

_DAY = click.DateTime(["%Y-%m-%d"])
_DAY_S = 86_400.0


@command("photos", example="lookalike photos --text sunrise --added-from 2026-11-01")
@click.option("--label", metavar="L", help="With this label.")
@click.option("--unlabelled", is_flag=True, help="Without a label.")
@click.option("--folder", metavar="DIR", help="From this folder.")
@click.option("--text", metavar="WORDS", help="Whose name or label has words that begin so.")
@click.option("--added-from", type=_DAY, metavar="DAY", help="Added on this day or later.")
@click.option("--added-to", type=_DAY, metavar="DAY", help="Added on this day or before.")
@click.option("--taken-from", type=_DAY, metavar="DAY", help="Taken on this day or later.")
@click.option("--taken-to", type=_DAY, metavar="DAY", help="Taken on this day or before.")
@click.option("--limit", default=60, show_default=True, type=click.IntRange(1, 500), help="Photos at most.")
@click.option("--after", metavar="NEXT", help="Go on after a list; --json says `next`.")
def photos(
    console: Console,
    label: str | None,
    unlabelled: bool,
    folder: str | None,
    text: str | None,
    added_from: datetime | None,
    added_to: datetime | None,
    taken_from: datetime | None,
    taken_to: datetime | None,
    limit: int,
    after: str | None,
) -> None:
    """List the gallery's photos, the newest first.

    Those that all of what is asked is true of.
    """
    from workers.messages import Selection

    days = {
        "added_from": _start(added_from),
        "added_before": _end(added_to),
        "taken_from": _taken(_start(taken_from), taken_from),
        "taken_before": _taken(_end(taken_to), taken_to),
    }
    asked = Selection(label=label, unlabelled=unlabelled, folder=folder, text=text, **days)
    with client_of(console) as client:
        page = client.page(asked, after, limit)
    console.result(page.to_json())
    if not page.images:
        console.show("no photo of the gallery is like this")
        return
    rows = [
        [each.id, f"{datetime.fromtimestamp(each.added_at):%Y-%m-%d}", each.label or "–", each.path]
        for each in page.images
    ]
    console.show(table(rows, ["id", "added", "label", "photo"]))
    console.show(f"{len(page.images)} of {page.total}" + (f"; go on: --after {page.next}" if page.next else ""))


@command("undo", example="lookalike undo label-3f1c9a0b7d42")
@click.argument("job", metavar="JOB")
def undo(console: Console, job: str) -> None:
    """Take back a change: labels given or removed, photos deleted, queries removed.

    For a day after it. JOB is what `label`, `delete`, `labels` and `queries remove` say with --json. What was changed
    again since stays.
    """
    with client_of(console) as client:
        status = client.undo(job)
    console.result({"job": status.job, "restored": status.total})
    console.show("as before" if job.startswith("query-") else f"{status.total} photos as before")


def _start(day: datetime | None) -> float | None:
    return day.timestamp() if day else None


def _end(day: datetime | None) -> float | None:
    return day.timestamp() + _DAY_S if day else None


def _taken(moment: float | None, day: datetime | None) -> float | None:
    """Cameras' clocks know no time zone: what they show counts as UTC."""
    if moment is None or day is None:
        return None
    offset = day.astimezone().utcoffset()
    return moment + (offset.total_seconds() if offset else 0.0)
