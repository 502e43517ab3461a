"""`lookalike evaluate`: how good a model is on labelled photos, in figures with their meaning and as a report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from deploy.cli.console import Console, Phases, command, table


@command("evaluate", example="lookalike evaluate MODEL photos/test --rerank --binary --report report.html")
@click.argument("model", required=False)
@click.argument("data", required=False)
@click.option(
    "--embeddings",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Measure the vectors of this file instead, from lookalike embed or another program.",
)
@click.option("--rerank", is_flag=True, help="Measure also after k-reciprocal re-ranking.")
@click.option("--binary", is_flag=True, help="Measure also with vectors as binary codes, 32 times smaller.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write an HTML report.")
@click.option("--compare", multiple=True, metavar="MODEL", help="Another model to set beside it; may be repeated.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of comparative sets and clustering.")
def evaluate(
    console: Console,
    model: str | None,
    data: str | None,
    embeddings: Path | None,
    rerank: bool,
    binary: bool,
    report: Path | None,
    compare: tuple[str, ...],
    seed: int,
) -> None:
    """Measure a model on labelled photos, each a query against all the others.

    MODEL is a name that `lookalike models` lists, the word active, a folder that holds a model, or untrained for the
    network before any training (untrained:BACKBONE for another one). DATA is as for `lookalike train`. With
    --embeddings neither is given.
    """
    if embeddings is not None:
        if model is not None or report is not None or compare:
            raise click.UsageError("--embeddings takes no MODEL, DATA, --report or --compare: it has no photos")
        _evaluate_vectors(console, embeddings, rerank=rerank, binary=binary, seed=seed)
        return
    if model is None or data is None:
        raise click.UsageError(f"Missing argument '{'MODEL' if model is None else 'DATA'}'.")
    from deploy.cli.model_folder import model_folder
    from ml.evaluation.evaluate import differences
    from ml.evaluation.evaluate import evaluate as run
    from workers import settings
    from workers.trainer.data import read_test

    current = settings.load()
    with Phases(console) as phases:
        folders = [model_folder(name, current) for name in (model, *compare)]
        images = read_test(data, data, current, on_progress=phases.show)
        assert images is not None  # DATA itself is given
        evaluations = [
            run(
                folder,
                images,
                rerank=rerank,
                binary=binary,
                seed=seed,
                device=current.device,
                cache_dir=current.compiled,
                on_progress=phases.show,
            )
            for folder in folders
        ]
        written: dict[str, Any] = {}
        if report is not None:
            from ml.evaluation.report import write

            phases.close()
            console.step("drawing the report")
            write(evaluations, report)
            written = {"report": str(report)}
    first = evaluations[0]
    others = {other.bundle.name: other.metrics for other in evaluations[1:]}
    gains = {other.bundle.name: differences(first, other) for other in evaluations[1:]}
    extra = {"compared": others, "differences": gains} if others else {}
    said = _say_notes(console, [note for one in evaluations for note in one.notes])
    console.result({"model": first.bundle.name, **first.metrics, **extra, **said, **written})
    _show_metrics(console, [(one.bundle.name, one.metrics) for one in evaluations])
    for name, gain in gains.items():
        console.show(_difference(first.bundle.name, name, gain["map@r"]))
    if report is not None:
        console.show(f"report: {report}")


# The figures that are shown, in this order, and what each one says; --json has all of them.
_MEANINGS = {
    "map@r": "how right the R nearest are, R being the other photos of the class; early ones count more",
    "r_precision": "the same, all counting alike",
    "map": "mean average precision over the whole ranking",
    "recall@1": "the nearest photo shows the same class",
    "recall@2": "one of the 2 nearest does",
    "recall@4": "one of the 4 nearest does",
    "recall@8": "one of the 8 nearest does",
    "rerank_map@r": "map@r after k-reciprocal re-ranking",
    "rerank_recall@1": "recall@1 after it",
    "binary_map@r": "map@r of binary codes, 32 times smaller",
    "binary_recall@1": "recall@1 of them",
    "dim256_map@r": "map@r of the first 256 dimensions alone",
    "dim128_map@r": "of the first 128",
    "dim64_map@r": "of the first 64",
    "median_rank": "place of one right photo among {negatives} wrong ones, median; 1 is best",
    "comparative_recall@1": "how often it comes first",
    "nmi": "agreement of clusters with classes",
    "same_precision": "half the classes absent: first hits said to be the same that are",
    "same_recall": "right first hits that are said to be the same",
    "brier": "mean squared error of what is said of them; 0 is best",
    "ece": "how far what is said lies from what is true, on average; 0 is best",
    "threshold": "similarity of a match: 1 % of pairs of different classes reach it",
    "match_rate": "pairs of one class that reach it",
    "images": "photos measured",
    "classes": "their classes",
}


def _evaluate_vectors(console: Console, file: Path, *, rerank: bool, binary: bool, seed: int) -> None:
    from ml.evaluation.evaluate import measure
    from ml.evaluation.vectors import Vectors

    found = Vectors.read(file)
    measured = measure(found.vectors, found.numbers, rerank=rerank, binary=binary, seed=seed)
    said = _say_notes(console, measured.notes)
    console.result({"model": found.model, "embeddings": str(file), **measured.metrics, **said})
    _show_metrics(console, [(found.model, measured.metrics)])


def _say_notes(console: Console, notes: list[str]) -> dict[str, list[str]]:
    """Says them, and gives what `--json` prints of them."""
    for note in notes:
        console.say(f"note: {note}")
    return {"notes": notes} if notes else {}


def _show_metrics(console: Console, columns: Sequence[tuple[str, dict[str, Any]]]) -> None:
    rows = [
        [
            name,
            *(_figure(name, metrics.get(name), metrics["intervals"]) for _, metrics in columns),
            meaning.format(negatives=columns[0][1]["comparative_negatives"]),
        ]
        for name, meaning in _MEANINGS.items()
        if name in columns[0][1]
    ]
    console.show(table(rows, ["", *(name for name, _ in columns), ""]))


def _figure(name: str, value: Any, intervals: dict[str, list[float]]) -> str:
    if value is None:
        return "–"
    if name in ("images", "classes", "median_rank", "threshold"):
        return f"{value:g}"
    bounds = intervals.get(name)
    return f"{100 * value:.1f} %" + (f" ({100 * bounds[0]:.1f} to {100 * bounds[1]:.1f})" if bounds else "")


def _difference(first: str, second: str, gain: dict[str, Any]) -> str:
    """Which model is better, in one line, or that nobody can tell by these photos."""
    points, bounds = 100 * gain["difference"], gain["interval"]
    within = f" ({100 * bounds[0]:+.1f} to {100 * bounds[1]:+.1f})" if bounds else ""
    verdict = "more than chance" if gain["is_beyond_chance"] else "no more than chance would give with other classes"
    return f"mAP@R of {first} minus {second}: {points:+.1f} points{within}, {verdict}"
