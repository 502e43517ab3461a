"""`lookalike embed`: the vectors of labelled photos as a file, for other programs."""

from pathlib import Path

import click

from deploy.cli.console import Console, Phases, command


@command("embed", example="lookalike embed photos/test -o vectors.npz")
@click.argument("data")
@click.option(
    "-o",
    "--output",
    "file",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write it there, as .npz or .parquet; a file that is there is replaced.",
)
@click.option("--model", default="active", show_default=True, metavar="MODEL", help="As for lookalike evaluate.")
@click.option("--split", metavar="NAME", help="Of a CSV, the rows that say so. [train]")
def embed(console: Console, data: str, file: Path, model: str, split: str | None) -> None:
    """Write the vectors of labelled photos to a file.

    DATA is as for `lookalike train`. An .npz holds the arrays `vectors` float32 [n, dim], rows of unit length,
    `labels`, `paths`, `sha256` and `model`; a .parquet has a row per photo with `vector`, `label`, `path` and `sha256`.
    """
    from deploy.cli.model_folder import model_folder
    from ml.evaluation.vectors import SUFFIXES, embed_images
    from workers import settings
    from workers.trainer.data import read

    if file.suffix not in SUFFIXES:
        raise click.UsageError(f"FILE must end in {' or '.join(SUFFIXES)}, got {file.name!r}")
    current = settings.load()
    with Phases(console) as phases:
        folder = model_folder(model, current)
        images = read(data, current, split=split, on_progress=phases.show)
        found = embed_images(folder, images, device=current.device, cache_dir=current.compiled, on_progress=phases.show)
    found.save(file)
    count, dim = found.vectors.shape
    console.result({"model": found.model, "file": str(file), "images": count, "dim": dim})
    console.show(f"{file}: {count} vectors of {dim} numbers, by {found.model}")
