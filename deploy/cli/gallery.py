"""`lookalike search`, `label` and `delete`: asking the gallery, and changing it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deploy.cli.console import Console, bar, command, table

if TYPE_CHECKING:
    from workers.client import Changed
    from workers.messages import SearchResult


_PHOTO = click.Path(exists=True, dir_okay=False, path_type=Path)


class _Box(click.ParamType):  # type: ignore[type-arg]
    """Four numbers with commas between."""

    name = "box"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[float]:
        try:
            numbers = [float(part) for part in value.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) != 4:
            self.fail(f"must be left,top,width,height, got {value}", param, ctx)
        return numbers


@command("search", example="lookalike search photo.jpg -k 10 --label shoe")
@click.argument("images", nargs=-1, required=True, type=_PHOTO, metavar="IMAGE...")
@click.option("-k", default=6, show_default=True, type=click.IntRange(1, 1000), metavar="N", help="Number of results.")
@click.option("--label", metavar="L", help="Among photos with this label alone.")
@click.option("--rerank", is_flag=True, help="Order by shared neighbours (k-reciprocal): slower, often better.")
@click.option(
    "--box",
    type=_Box(),
    metavar="LEFT,TOP,WIDTH,HEIGHT",
    help="Search with this part of the first IMAGE: shares of the upright photo up to 1, or pixels.",
)
@click.option("--unlike", multiple=True, type=_PHOTO, metavar="IMAGE", help="A photo that is not meant; repeatable.")
@click.option(
    "--strategy",
    default="average",
    show_default=True,
    type=click.Choice(["average", "best"]),
    help="Of several: what all have in common, or what is like any one of them.",
)
def search(
    console: Console,
    images: tuple[Path, ...],
    k: int,
    label: str | None,
    rerank: bool,
    box: list[float] | None,
    unlike: tuple[Path, ...],
    strategy: str,
) -> None:
    """Find the photos that look like IMAGE.

    Similarity is the cosine between -1 and 1; a photo that is in the gallery finds itself with 1. Of
    several IMAGEs it is that to the most similar of them, and probabilities are not claimed. Photos are not kept.
    """
    from deploy.local.connection import connect
    from ml.images import UnreadableImage
    from workers import settings
    from workers.client import Client

    if rerank and (len(images) > 1 or unlike):
        raise click.UsageError("--rerank works with one IMAGE")
    first, *more = map(_bytes_of, images)
    with connect(settings.load(), say=console.step) as connected:
        console.step("searching")
        try:
            answer = Client(connected).search(
                first,
                k=k,
                label=label,
                rerank=rerank,
                box=box,
                more=more,
                unlike=[*map(_bytes_of, unlike)],
                strategy=strategy,
            )
        except UnreadableImage as error:
            about = images[0] if not (more or unlike) else "one of the photos"
            raise UnreadableImage(f"{about} {error.message}", hint=error.hint) from error
    console.result(answer.to_json())
    show_results(console, answer)


def _bytes_of(image: Path) -> bytes:
    from ml import files
    from ml.images import UnreadableImage

    try:
        return files.read_regular(image)
    except OSError as error:
        raise UnreadableImage(f"{image} cannot be read: {error.strerror}") from error


def show_results(console: Console, answer: "SearchResult") -> None:
    """The ranked answers as a table, each similarity as a number and a bar."""
    if not answer.results:
        console.show("nothing found: the gallery is empty, or no photo of it carries this label")
        return
    rows = [
        [
            str(hit.rank),
            f"{hit.similarity:.3f}",
            bar(hit.similarity).ljust(20),
            "" if hit.probability is None else f"{hit.verdict} {100 * hit.probability:.0f} %",
            hit.label or "–",
            near(hit.path),
        ]
        for hit in answer.results
    ]
    console.show(table(rows, ["rank", "similarity", "", "", "label", "photo"]))
    if answer.matches == 0:
        console.show("nothing in your gallery matches; these are similar, but probably not the same")
    console.show(f"by the model {answer.model}")
    if answer.told:
        about = "no probabilities" if answer.matches is None else "probabilities"
        console.show(f"{about}: {answer.told}")


def near(path: str) -> str:
    """The path as it is seen from here, when that is shorter and the photo lies below."""
    here = os.getcwd() + os.sep  # noqa: PTH109 - text against text: the photo may be long gone
    return path.removeprefix(here)


@command("label", example="lookalike label 3f2b8c… 91d04e… --as shoe")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--as", "label_name", required=True, metavar="L", help='The label; "" takes it away.')
def label(console: Console, ids: tuple[str, ...], label_name: str) -> None:
    """Give photos the label L.

    IDs are those that `search --json` and the portal show. The change is visible in searches when the command ends.
    One that is not there any more is named, and stops nothing.
    """
    done = _change(console, ids, label_name=label_name)
    skipped = [each.to_json() for each in done.skipped]
    result = {"job": done.job, "labelled": len(done.ids), "label": label_name or None, "skipped": skipped}
    console.result(result)
    console.show(f"labelled {len(done.ids)} as {label_name}" if label_name else "label taken away")


@command("delete", example="lookalike delete 3f2b8c…")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
def delete(console: Console, ids: tuple[str, ...]) -> None:
    """Move photos to the trash.

    IDs are those that `search --json` and the portal show. No search finds them any more when the command ends.
    `lookalike trash` lists them, `trash restore` brings them back, `trash empty` removes them for good. One that is not
    there any more is named, and stops nothing.
    """
    done = _change(console, ids, label_name=None)
    skipped = [each.to_json() for each in done.skipped]
    console.result({"job": done.job, "deleted": len(done.ids), "skipped": skipped})
    console.show(f"moved {len(done.ids)} to the trash")


def _change(console: Console, ids: tuple[str, ...], *, label_name: str | None) -> "Changed":
    """Deletes, or labels when a label is given, and says which images were left out."""
    from deploy.cli.changed import told
    from deploy.local.connection import connect
    from workers import settings
    from workers.client import Client

    with connect(settings.load(), say=console.step) as connected:
        client = Client(connected)
        done = client.delete(ids) if label_name is None else client.label(ids, label_name or None)
    return told(console, done)
