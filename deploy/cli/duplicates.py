"""`lookalike duplicates`: copies of photos, keeping one of each group, and which are none."""

import click

from deploy.cli.changed import told
from deploy.cli.connected import client_of
from deploy.cli.console import Console, command
from deploy.cli.gallery import near
from ml.images.likeness import COPY_FROM


@command("groups", example="lookalike duplicates groups --json")
def groups(console: Console) -> None:
    """Show the copies that were found last, as groups around the photo worth keeping.

    It has the most pixels, unless it is less sharp. The others of a group are copies of it.
    """
    from workers.client import copy_groups

    with client_of(console) as client:
        job = client.duplicates.latest()
        found, total = copy_groups(client, job.job, limit=1_000) if job else ([], 0)
    console.result({"job": job.job if job else None, "groups": [each.to_json() for each in found], "total": total})
    if job is None:
        console.show("nobody has looked for copies lately: lookalike duplicates")
    for each in found:
        console.show(f"{each.best.id}  {near(each.best.path)}")
        for copy in each.copies:
            console.show(f"  {copy.image.id}  {near(copy.image.path)}")


@command("keep", example="lookalike duplicates keep 3f2b8c… 91d04e…")
@click.argument("kept", metavar="ID")
@click.argument("copies", nargs=-1, required=True, metavar="COPY...")
def keep(console: Console, kept: str, copies: tuple[str, ...]) -> None:
    """Keep one photo, and move copies of it to the trash.

    Nothing is changed when the one to keep is not there any more.
    """
    with client_of(console) as client:
        client.image(kept)
        done = told(console, client.delete([id for id in copies if id != kept]))
    skipped = [each.to_json() for each in done.skipped]
    console.result({"job": done.job, "kept": kept, "deleted": len(done.ids), "skipped": skipped})
    console.show(f"moved {len(done.ids)} to the trash")


@command("apart", example="lookalike duplicates apart 3f2b8c… 91d04e…")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--take-back", is_flag=True, help="They may be copies after all.")
def apart(console: Console, ids: tuple[str, ...], take_back: bool) -> None:
    """Say that photos are no copies of each other.

    They are listed as copies no more, by their content. It says nothing of whether they show the same thing.
    """
    if len(set(ids)) < 2:
        raise click.UsageError("name at least two photos")
    with client_of(console) as client:
        try:
            client.duplicates.keep_apart(ids, are_apart=not take_back)
        except ValueError as error:
            raise click.UsageError(f"{error}: an id has 32 hexadecimal digits, as --json shows it") from error
    console.result({"ids": list(dict.fromkeys(ids)), "apart": not take_back})
    console.show("forgotten" if take_back else "remembered")


@command("duplicates", example="lookalike duplicates --tier same-image", actions=[groups, keep, apart])
@click.option(
    "--tier",
    type=click.Choice(["same-image", "near-copy"]),
    help="Only photos that were saved anew or resized; or only those that were cropped, turned, written over, …",
)
@click.option(
    "--threshold",
    default=COPY_FROM,
    show_default=True,
    type=click.FloatRange(0.5, 1.0),
    metavar="T",
    help="How well two photos must agree where they overlap. Lower also takes shots of one scene for copies.",
)
def duplicates(console: Console, tier: str | None, threshold: float) -> None:
    """List copies of one photo.

    Each photo's twenty nearest are laid over it. Photos with exactly the same bytes are in the gallery only once.
    `duplicates groups` shows what was found last as groups, `duplicates keep` moves copies to the trash.
    """
    with client_of(console) as client:
        job = client.duplicates.start(threshold)
        with console.progress("comparing") as progress:
            for status in client.follow(job):
                progress(status.done, status.total)
        pairs = [pair for pair in client.duplicates.pairs(job) if tier in (None, pair.tier)]
    console.result({"job": job, "threshold": threshold, "pairs": [pair.to_json() for pair in pairs]})
    for pair in pairs:
        console.show(f"{pair.tier:10}  {pair.score:.3f}  {near(pair.path)}  {near(pair.other_path)}")
    console.show(f"{len(pairs)} pairs of copies" if pairs else "no copies were found")
