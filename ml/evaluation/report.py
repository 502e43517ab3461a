"""An evaluation as one HTML file that opens anywhere: no network, no scripts, images and charts inside.

Labels and file names come from strangers: the template escapes everything, and the page's Content-Security-Policy
allows styles and inline images alone.
"""

import base64
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ml import files, images
from ml.errors import LookalikeError
from ml.evaluation import charts
from ml.evaluation.evaluate import Evaluation
from ml.images import UnreadableImage
from ml.statistics.uncertainty import is_beyond_chance
from ml.tuning.calibration import SAME_FROM

_NEIGHBOURS = 8
_QUERIES = 6  # best and worst, each
_CONFUSIONS = 8
_MAP_POINTS = 1500
_THUMBNAIL_PX = 144


@dataclass(frozen=True)
class ReportImage:
    """An image in the report: data URI, file name, label, whether its label is the query's, similarity to it."""

    uri: str
    name: str
    label: str
    is_right: bool = True
    similarity: float = 1.0


@dataclass(frozen=True)
class Query:
    """A query with its nearest neighbours, and its average precision at R."""

    image: ReportImage
    neighbours: list[ReportImage]
    average_precision: float


@dataclass(frozen=True)
class ClassRow:
    """A line of the table of classes; `others` are mAP@R of the models set beside, None where they lack the class."""

    name: str
    images: int
    map_at_r: float
    recall_at_1: float
    confused_with: str
    others: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Confusion:
    """Images of one class whose neighbours are of another: how many of a hundred neighbours, and an example."""

    label: str
    other: str
    share: float
    example: ReportImage
    mistaken_for: ReportImage


def write(evaluations: Sequence[Evaluation], file: Path) -> None:
    """Writes the report of one model, or of several side by side: the first is shown in full.

    Raises:
        LookalikeError: the file cannot be written.
    """
    html = render(evaluations)
    try:
        files.write(file, html)
    except OSError as error:
        raise LookalikeError(
            f"the report {file} cannot be written: {error.strerror}", hint="name another file"
        ) from error


def render(evaluations: Sequence[Evaluation]) -> str:
    """The page as text."""
    environment = Environment(
        loader=PackageLoader("ml", "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["percent"] = lambda value: "–" if value is None else f"{100 * value:.1f}"
    first = evaluations[0]
    return environment.get_template("report.html").render(
        model=first.bundle,
        dataset=first.dataset,
        metrics=first.metrics,
        models=[{"name": one.bundle.name, "metrics": one.metrics, "dim": one.bundle.dim} for one in evaluations],
        rows=_comparison(evaluations),
        made_at=time.strftime("%Y-%m-%d %H:%M"),
        recall_chart=_recall_chart(evaluations),
        rank_chart=_rank_chart(first),
        pair_chart=_pair_chart(first),
        answers=_answers(evaluations),
        curve_charts=_curves(first),
        map_chart=_map(first),
        best=_queries(first, is_best=True),
        worst=_queries(first, is_best=False),
        classes=_classes(first, evaluations[1:]),
        confusions=_confusions(first),
        lineage=_flat(first.bundle.lineage),
    )


_SHOWN = (
    ("map@r", "mAP@R", "mean average precision over the first R neighbours"),
    ("recall@1", "recall@1", "the nearest neighbour is right"),
    ("recall@4", "recall@4", "one of the nearest four is right"),
    ("precision@4", "precision@4", "share of right ones among the nearest four"),
    ("map", "mAP", "over the whole ranking"),
    ("nmi", "NMI", "agreement of clusters with labels"),
    ("match_rate", "match rate", "pairs of one label above the threshold of 1 % false matches"),
    ("comparative_recall@1", "comparative recall@1", "one right among {negatives} wrong ones comes first"),
    ("rerank_map@r", "mAP@R, re-ranked", "k-reciprocal re-ranking"),
    ("rerank_recall@1", "recall@1, re-ranked", "k-reciprocal re-ranking"),
    ("binary_map@r", "mAP@R, binary codes", "one bit per dimension"),
    ("binary_recall@1", "recall@1, binary codes", "one bit per dimension"),
    ("dim256_map@r", "mAP@R, first 256 dimensions", "prefix of the vector"),
    ("dim128_map@r", "mAP@R, first 128 dimensions", "prefix of the vector"),
    ("dim64_map@r", "mAP@R, first 64 dimensions", "prefix of the vector"),
)


def _comparison(evaluations: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """One row per figure, one column per model. The best is marked where it is ahead by more than chance."""
    rows = []
    for key, name, meaning in _SHOWN:
        values = [one.metrics.get(key) for one in evaluations]
        known = [value for value in values if value is not None]
        if known:
            intervals = [one.metrics.get("intervals", {}).get(key) for one in evaluations]
            best = max(known) if _is_ahead(evaluations, key) else None
            meaning = meaning.format(negatives=evaluations[0].metrics.get("comparative_negatives"))
            rows.append({"name": name, "meaning": meaning, "values": values, "intervals": intervals, "best": best})
    return rows


def _is_ahead(evaluations: Sequence[Evaluation], key: str) -> bool:
    """Whether the best of these models is ahead of every other one by more than chance."""
    figures = [one.figures.get(key) for one in evaluations]
    if len(figures) < 2 or any(figure is None for figure in figures):
        return False
    ranked = sorted((figure for figure in figures if figure is not None), key=lambda figure: -figure.mean)
    return all(is_beyond_chance(ranked[0], other) for other in ranked[1:])


def _recall_chart(evaluations: Sequence[Evaluation]) -> Markup:
    series = [
        (one.bundle.name, list(one.retrieval.recall), [100 * value for value in one.retrieval.recall.values()])
        for one in evaluations
    ]
    return charts.lines(series, x="k, neighbours looked at", y="recall@k, %", is_log_x=True)


def _rank_chart(one: Evaluation) -> Markup:
    places = one.metrics["comparative_negatives"] + 1
    counts = np.bincount(one.ranks, minlength=places + 1)[1:]
    chance = np.full(places, 1)
    edges = np.arange(0.5, places + 1.5)
    return charts.histograms(
        edges, [("this model", counts), ("by chance", chance)], x="rank of the right image", bins=50
    )


def _pair_chart(one: Evaluation) -> Markup:
    return charts.histograms(
        one.pairs.edges,
        [("same label", one.pairs.same), ("different labels", one.pairs.different)],
        x="similarity of two images",
        y="share of pairs",
        mark=(one.threshold, f"match from {one.threshold:.2f} on"),
    )


_SAID = (
    ("same_precision", "precision of “same”", "hits said to be the same that are"),
    ("same_recall", "recall of “same”", "right hits that are said to be the same"),
    ("brier", "Brier score", "mean squared error of the probability; lower is better"),
    ("ece", "calibration error (ECE)", "how far probabilities lie from what was true, on average; lower is better"),
)


def _answers(evaluations: Sequence[Evaluation]) -> dict[str, Any] | None:
    """How true probabilities of first hits are; None where that was not measured."""
    judged = [one for one in evaluations if one.judged is not None]
    if evaluations[0].judged is None:
        return None
    chart = charts.reliability(
        [(one.bundle.name, one.metrics["reliability"]) for one in judged], x="probability that was said", y="right"
    )
    rows = [
        {
            "name": name,
            "meaning": meaning,
            "values": [one.metrics[key] for one in judged],
            "intervals": [one.metrics["intervals"].get(key) for one in judged],
        }
        for key, name, meaning in _SAID
    ]
    return {"chart": chart, "names": [one.bundle.name for one in judged], "rows": rows, "same_from": SAME_FROM}


def _curves(one: Evaluation) -> list[Markup]:
    """Loss and held-out mAP@R by epoch, where the model was trained by us."""
    history = one.bundle.lineage.get("history") or []
    epochs = [entry["epoch"] for entry in history]
    if len(epochs) < 2:
        return []
    drawn = [charts.lines([("loss", epochs, [entry["loss"] for entry in history])], x="epoch", y="training loss")]
    held_out = [math.nan if entry.get("map_at_r") is None else 100 * entry["map_at_r"] for entry in history]
    if any(math.isfinite(value) for value in held_out):
        drawn.append(charts.lines([("mAP@R", epochs, held_out)], x="epoch", y="held-out mAP@R, %"))
    return drawn


def _map(one: Evaluation) -> Markup:
    """The embeddings in two dimensions: t-SNE on the cosine."""
    count = len(one.embeddings)
    chosen = np.random.default_rng(0).permutation(count)[:_MAP_POINTS]
    if len(chosen) < 5:
        return Markup("")
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(chosen) - 1) / 3)
    vectors = one.embeddings[torch.from_numpy(chosen)].numpy()
    flat = TSNE(2, perplexity=perplexity, init="pca", metric="cosine", random_state=0, max_iter=600).fit_transform(
        vectors
    )
    return charts.scatter(flat, one.dataset.labels[chosen], one.dataset.classes)


def _queries(one: Evaluation, *, is_best: bool) -> list[Query]:
    """One query of each of some classes: those with the highest or the lowest average precision."""
    scores = one.retrieval.average_precision_at_r.numpy()
    positions = np.flatnonzero(one.retrieval.is_counted.numpy())
    order = positions[np.argsort(-scores[positions] if is_best else scores[positions], kind="stable")]
    queries: list[Query] = []
    shown_labels: set[int] = set()
    for position in order:
        label = int(one.dataset.labels[position])
        if label in shown_labels:
            continue
        shown_labels.add(label)
        nearest = one.retrieval.nearest[position, :_NEIGHBOURS].tolist()
        queries.append(
            Query(
                _image(one, int(position)),
                [_image(one, other, int(position)) for other in nearest],
                float(scores[position]),
            )
        )
        if len(queries) == _QUERIES:
            break
    return queries


def _wrong_neighbours(one: Evaluation) -> np.ndarray:
    """How many of the first R neighbours of each class's images are of each other class: float [classes, classes]."""
    labels, classes = one.dataset.labels, len(one.dataset.classes)
    nearest = one.retrieval.nearest.numpy()
    counts = np.bincount(labels, minlength=classes)
    within = np.arange(nearest.shape[1])[None, :] < np.maximum(counts[labels] - 1, 1)[:, None]
    pairs = labels[:, None] * classes + labels[nearest]
    neighbours = np.bincount(pairs[within], minlength=classes * classes).reshape(classes, classes)
    total = np.bincount(np.repeat(labels, within.sum(1)), minlength=classes)
    shares = neighbours / np.maximum(total, 1)[:, None]
    np.fill_diagonal(shares, 0)
    return shares


def _classes(one: Evaluation, others: Sequence[Evaluation] = ()) -> list[ClassRow]:
    """Every class, the hardest first."""
    beside = [_map_by_class(other) for other in others]
    confused = _wrong_neighbours(one)
    scores, first = one.retrieval.average_precision_at_r.numpy(), one.retrieval.first_hit.numpy()
    rows = []
    for label, name in enumerate(one.dataset.classes):
        own = (one.dataset.labels == label) & one.retrieval.is_counted.numpy()
        if own.any():
            other = int(confused[label].argmax())
            with_ = (
                f"{one.dataset.classes[other]} ({100 * confused[label, other]:.0f} %)" if confused[label].any() else ""
            )
            of_others = tuple(by_class.get(name) for by_class in beside)
            map_at_r, recall = float(scores[own].mean()), float((first[own] == 1).mean())
            rows.append(ClassRow(name, int(own.sum()), map_at_r, recall, with_, of_others))
    return sorted(rows, key=lambda row: (row.map_at_r, row.name))


def _map_by_class(one: Evaluation) -> dict[str, float]:
    """mAP@R of each class that has queries, by its name."""
    scores, is_counted = one.retrieval.average_precision_at_r.numpy(), one.retrieval.is_counted.numpy()
    rows = {name: (one.dataset.labels == label) & is_counted for label, name in enumerate(one.dataset.classes)}
    return {name: float(scores[own].mean()) for name, own in rows.items() if own.any()}


def _confusions(one: Evaluation) -> list[Confusion]:
    """The pairs of classes that are taken for one another most often, with two images that show it."""
    shares = _wrong_neighbours(one)
    confusions = []
    for flat in np.argsort(-shares, axis=None, kind="stable")[:_CONFUSIONS]:
        label, other = (int(value) for value in np.unravel_index(flat, shares.shape))
        if not shares[label, other]:
            break
        own, others = (torch.from_numpy(np.flatnonzero(one.dataset.labels == value)) for value in (label, other))
        similarity = one.embeddings[own] @ one.embeddings[others].T
        row, column = divmod(int(similarity.argmax()), similarity.shape[1])
        confusions.append(
            Confusion(
                one.dataset.classes[label],
                one.dataset.classes[other],
                float(shares[label, other]),
                _image(one, int(own[row])),
                _image(one, int(others[column]), int(own[row])),
            )
        )
    return confusions


def _image(one: Evaluation, position: int, query: int | None = None) -> ReportImage:
    path, label = one.dataset.paths[position], int(one.dataset.labels[position])
    similarity = 1.0 if query is None else float(one.embeddings[position] @ one.embeddings[query])
    is_right = query is None or label == int(one.dataset.labels[query])
    return ReportImage(_uri(path), path.name, one.dataset.classes[label], is_right, similarity)


def _uri(path: Path) -> str:
    try:
        image = images.decode(path.read_bytes(), min_side=_THUMBNAIL_PX)
    except (OSError, UnreadableImage):
        return ""  # it was removed since it was measured
    data = base64.b64encode(images.thumbnail(image, _THUMBNAIL_PX * 2)).decode()
    return f"data:image/jpeg;base64,{data}"


def _flat(values: dict[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Nested settings as lines of name and value."""
    rows = []
    for key, value in values.items():
        if key == "history" or f"{before}{key}" == "data.photos":
            continue  # drawn as curves; hashes, which say nothing to a reader
        if isinstance(value, dict):
            rows += _flat(value, f"{before}{key}.")
        else:
            rows.append((f"{before}{key}", ", ".join(map(str, value)) if isinstance(value, list) else str(value)))
    return rows
