"""`lookalike queries`: photos that a new model is shown by, before it is published."""

from datetime import UTC, datetime
from pathlib import Path

import click

from deploy.cli.connected import client_of
from deploy.cli.console import Console, command, table


@command("save", example="lookalike queries save photo.jpg 3f2b8c…")
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO|ID...")
def save(console: Console, photos: tuple[str, ...]) -> None:
    """Keep photos as queries: files, or photos of the gallery by their ids.

    A file is kept for this alone, and not added to the gallery. One that cannot be kept is named, and stops nothing.
    """
    from ml import files
    from ml.errors import LookalikeError

    saved, left_out = [], []
    with client_of(console) as client:
        for each in photos:
            path = Path(each)
            try:
                if path.is_file():
                    saved.append(client.save_query(files.read_regular(path), name=path.name))
                else:
                    saved.append(client.save_query(id=each))
            except (LookalikeError, OSError) as error:
                left_out.append({"photo": each, "reason": getattr(error, "message", "") or str(error)})
    for one in left_out:
        console.say(f"left out: {one['photo']}: {one['reason']}")
    if not saved:
        raise LookalikeError("no query was saved", hint="name files, or ids as `search --json` shows them")
    console.result({"saved": [query.to_json() for query in saved], "left_out": left_out})
    console.show(f"{len(saved)} saved")


@command("remove", example="lookalike queries remove 3f2b8c…")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
def remove(console: Console, ids: tuple[str, ...]) -> None:
    """Keep queries no longer. Photos of the gallery stay there. For a day `lookalike undo` takes it back."""
    from ml.errors import LookalikeError
    from workers.errors import NotFound

    removed, jobs = [], []
    with client_of(console) as client:
        for id in ids:
            try:
                jobs.append(client.changes.forget_query(id))
                removed.append(id)
            except NotFound as error:
                console.say(f"left out: {error.message}")
    if not removed:
        raise LookalikeError("no query was removed", hint="lookalike queries lists those that are saved")
    console.result({"removed": removed, "jobs": jobs})
    console.show(f"{len(removed)} removed")
    for job in jobs:
        console.show(f"to take it back: lookalike undo {job}")


@command("queries", example="lookalike queries", actions=[save, remove])
def queries(console: Console) -> None:
    """List the saved queries, the latest first.

    `lookalike publish MODEL --preview` shows what a new model would answer to them.
    """
    with client_of(console) as client:
        found = client.queries.all()
    console.result({"queries": [query.to_json() for query in found]})
    if not found:
        console.show("no query is saved: lookalike queries save PHOTO")
        return
    rows = [
        [each.id, f"{datetime.fromtimestamp(each.at, UTC):%Y-%m-%d}", "a photo" if each.is_photo else "", each.name]
        for each in found
    ]
    console.show(table(rows, ["id", "saved", "", "name"]))
