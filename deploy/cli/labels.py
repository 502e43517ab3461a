"""`lookalike labels`: the labels in use, renaming them, photos without one, and photos whose label may be wrong."""

from typing import TYPE_CHECKING

import click

from deploy.cli.changed import told
from deploy.cli.connected import client_of
from deploy.cli.console import Console, command, table
from ml.errors import LookalikeError

if TYPE_CHECKING:
    from workers.client import Changed

_NAMED = 5  # photos of a group that a line names


@command("unlabelled", example="lookalike labels unlabelled --json")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 200), help="Groups at most.")
def unlabelled(console: Console, limit: int) -> None:
    """List photos without a label, in groups, each with a guess.

    What teaches most comes first. `lookalike label ID... --as L` gives a group its label; --json names all of its ids.
    """
    with client_of(console) as client:
        found = client.labelling.proposals(limit)
    console.result(found.to_json())
    if not found.groups:
        console.show("every photo has a label")
        return
    rows = [
        [
            each.label or "–",
            f"{100 * each.share:.0f} %" if each.label else "",
            str(len(each.images)),
            ", ".join(image.name for image in each.images[:_NAMED]) + (", …" if len(each.images) > _NAMED else ""),
        ]
        for each in found.groups
    ]
    console.show(table(rows, ["guess", "sure", "photos", ""]))
    console.show(f"{found.total} photos without a label")


@command("outliers", example="lookalike labels outliers lemon")
@click.argument("label")
@click.option("--limit", default=12, show_default=True, type=click.IntRange(1, 200), help="Photos at most.")
def outliers(console: Console, label: str, limit: int) -> None:
    """List photos whose label may be wrong.

    They are far from the other photos of their label, or most of their neighbours have another one.
    """
    with client_of(console) as client:
        found = client.labelling.outliers(label, limit)
    if not found.count:
        raise LookalikeError(f"no image has the label {label}", hint="lookalike labels lists those in use")
    console.result(found.to_json())
    if not found.outliers:
        console.show(f"none of the {found.count} photos labelled {label} stands out")
        return
    rows = [
        [each.image.id, f"{each.similarity:.3f}", f"more like {each.like}" if each.like else "", each.image.path]
        for each in found.outliers
    ]
    console.show(table(rows, ["id", "similarity", "", "photo"]))


@command("rename", example="lookalike labels rename mugg mug")
@click.argument("label")
@click.argument("by", metavar="NEW")
def rename(console: Console, label: str, by: str) -> None:
    """Rename a label; where NEW is in use, the two become one.

    `lookalike undo JOB` takes it back.
    """
    with client_of(console) as client:
        done = client.replace_label(label, by)
    _tell(console, told(console, done), f"labelled {by} now")


@command("remove", example="lookalike labels remove mug")
@click.argument("label")
def remove(console: Console, label: str) -> None:
    """Take a label away from all of its photos.

    `lookalike undo JOB` takes it back.
    """
    with client_of(console) as client:
        done = client.replace_label(label, None)
    _tell(console, told(console, done), "without a label now")


@command("labels", example="lookalike labels", actions=[unlabelled, outliers, rename, remove])
def labels(console: Console) -> None:
    """List the labels in use, most frequent first."""
    with client_of(console) as client:
        found = client.labels()
    console.result({"labels": [each.to_json() for each in found]})
    if not found:
        console.show("no photo has a label yet")
        return
    console.show(table([[each.label, str(each.count)] for each in found], ["label", "photos"]))


def _tell(console: Console, done: "Changed", now: str) -> None:
    console.result({"job": done.job, "changed": len(done.ids)})
    console.show(f"{len(done.ids)} photos {now}")
    if done.job:
        console.show(f"undo: lookalike undo {done.job}")
