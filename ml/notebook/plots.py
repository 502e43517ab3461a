"""What retrieval looks like: classes, ranked images, comparative sets, recall curves, and a viewer to click through.

For notebooks and scripts alike: the functions return matplotlib figures, `viewer` a page of HTML that needs nothing
else. Everything is drawn from small copies of the images, so that a saved notebook stays small.
"""

import base64
import html
import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from ml import images

_TILE_PX = 140
_INCHES = 1.4  # of a tile
_TEXT_PT = 9.0  # legible at 90 dots per inch, what notebooks show
_QUERY, _RIGHT, _WRONG = "#495057", "#2b8a3e", "#c92a2a"

# An image file, or an image that is loaded already.
ImageSource = Path | Image.Image


def ranked_grid(
    query: ImageSource,
    results: Sequence[ImageSource],
    similarities: Sequence[float],
    *,
    is_right: Sequence[bool] | None = None,
    columns: int = 8,
    title: str = "",
) -> Figure:
    """The query and what was found, best first, with similarity and L2 distance.

    Args:
        query: the image that was searched with.
        results: what was found, best first.
        similarities: cosines, as many.
        is_right: of each, whether its label is the query's: its frame is green or red then.
        columns: tiles in a row.
        title: above all of it.

    Raises:
        ValueError: lengths differ.
    """
    if len(results) != len(similarities) or (is_right is not None and len(is_right) != len(results)):
        raise ValueError(f"{len(results)} results, {len(similarities)} similarities")
    figure, tiles = _tiles(len(results) + 1, columns, title)
    _tile(tiles[0], query, "query", _QUERY)
    for rank, (tile, image, similarity) in enumerate(zip(tiles[1:], results, similarities, strict=False), 1):
        frame = None if is_right is None else (_RIGHT if is_right[rank - 1] else _WRONG)
        _tile(tile, image, f"{rank}: {similarity:.2f}, L2 {distance(similarity):.2f}", frame)
    return figure


def comparative_set(
    query: ImageSource,
    positive: ImageSource,
    negatives: Sequence[ImageSource],
    similarities: Sequence[float],
    *,
    shown: int = 7,
) -> Figure:
    """One comparative set: a query, and its positive among the nearest of its negatives.

    Args:
        query: the image that the others are compared with.
        positive: the one of its label.
        negatives: those of other labels.
        similarities: to the query, of the positive first and then of the negatives.
        shown: candidates to show; the positive is among them wherever it ranks.

    Raises:
        ValueError: lengths differ.
    """
    if len(similarities) != len(negatives) + 1:
        raise ValueError(f"{len(negatives)} negatives and a positive, {len(similarities)} similarities")
    order = np.argsort(-np.asarray(similarities), kind="stable")
    rank = int(np.flatnonzero(order == 0)[0]) + 1
    places = [int(place) for place in order[:shown]]
    if 0 not in places:
        places[-1] = 0
    candidates = [positive, *negatives]
    title = f"the positive has rank {rank} of {len(similarities)}"
    figure, tiles = _tiles(len(places) + 1, shown + 1, title)
    _tile(tiles[0], query, "query", _QUERY)
    for tile, place in zip(tiles[1:], places, strict=False):
        name = "positive" if place == 0 else "negative"
        _tile(tile, candidates[place], f"{name}: {similarities[place]:.2f}", _RIGHT if place == 0 else _WRONG)
    return figure


def class_grid(classes: Mapping[str, Sequence[ImageSource]], *, title: str = "") -> Figure:
    """Images of some classes, one class in each row: name -> its images.

    Raises:
        ValueError: there are no classes, or one has no images.
    """
    if not classes or not all(classes.values()):
        raise ValueError("each class must have at least one image")
    columns = 1 + max(map(len, classes.values()))
    figure, tiles = _tiles(columns * len(classes), columns, title, text_inches=0.05)
    for row, (name, shown) in enumerate(classes.items()):
        # Of the length that fits into a tile; names of classes are words with hyphens.
        text = "\n".join(textwrap.wrap(name.replace("-", " ").replace("_", " "), 16))
        tiles[row * columns].text(1.0, 0.5, text, fontsize=_TEXT_PT, ha="right", va="center")
        for tile, image in zip(tiles[row * columns + 1 :], shown, strict=False):
            _tile(tile, image, "", None)
    return figure


def recall_curve(recalls: Mapping[str, Mapping[int, float]], *, title: str = "recall@k") -> Figure:
    """Recall@k over k, one line for each model: name -> (k -> recall)."""
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    ks = sorted({k for recall in recalls.values() for k in recall})
    for name, recall in recalls.items():
        axes.plot([ks.index(k) for k in sorted(recall)], [100 * recall[k] for k in sorted(recall)], "o-", label=name)
    axes.set(xlabel="k", ylabel="%", title=title, xticks=range(len(ks)), xticklabels=[str(k) for k in ks])
    axes.set_ylim(top=101)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def rank_histogram(ranks: np.ndarray, *, of: int = 100, title: str = "") -> Figure:
    """How often the positive of a comparative set had which rank, 1 being the best of `of`."""
    figure = Figure(figsize=(5, 2.5), layout="constrained")
    axes = figure.subplots()
    axes.hist(ranks, bins=(np.arange(of + 1) + 0.5).tolist(), color=_QUERY)
    axes.axvline(float(np.median(ranks)), color=_WRONG, label=f"median {np.median(ranks):g}, chance {of / 2:g}")
    axes.set(xlabel="rank of the positive", ylabel="sets", title=title, xlim=(0, of + 1))
    axes.legend()
    return figure


def bars(values: Mapping[str, float], *, label: str, spread: Mapping[str, float] | None = None) -> Figure:
    """A bar for each name, with the spread of its repeats where that is known."""
    figure = Figure(figsize=(6, 0.9 + 0.45 * len(values)), layout="constrained")
    axes = figure.subplots()
    errors = None if spread is None else [spread.get(name, 0.0) for name in values]
    axes.barh(list(values), list(values.values()), xerr=errors, color="#4c6ef5", capsize=4)
    axes.invert_yaxis()  # the first on top; names of any length are legible at the side
    axes.set(xlabel=label)
    axes.grid(axis="x", alpha=0.3)
    return figure


def distance(similarity: float) -> float:
    """The L2 distance of two unit vectors with this cosine: sqrt(2 - 2 · similarity)."""
    return float(np.sqrt(max(0.0, 2 - 2 * similarity)))


@dataclass(frozen=True)
class Viewer:
    """A retrieval viewer: `page` is a whole HTML page. Notebooks show it by themselves; a script saves it."""

    page: str = field(repr=False)

    def save(self, path: Path) -> Path:
        """Writes the page, to be opened in a browser."""
        path.write_text(self.page, "utf-8")
        return path

    def _repr_html_(self) -> str:
        # A frame of its own keeps the page's style and script away from the notebook's.
        return f'<iframe srcdoc="{html.escape(self.page)}" style="width:100%;height:420px;border:0"></iframe>'


def viewer(
    paths: Sequence[Path], labels: Sequence[str], embeddings: np.ndarray, *, k: int = 8, tile_px: int = 72
) -> Viewer:
    """Images to click: a click makes an image the query and shows its k nearest.

    Args:
        paths: of the images. Their small copies are part of the page: 100 images make some 300 kB.
        labels: of the images, as many.
        embeddings: float32 [n, d], rows of unit length.
        k: neighbours to show.
        tile_px: longest side of a small copy.

    Raises:
        ValueError: lengths differ.
    """
    if not len(paths) == len(labels) == len(embeddings):
        raise ValueError(f"{len(paths)} paths, {len(labels)} labels, {len(embeddings)} embeddings")
    similarity = embeddings @ embeddings.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, : min(k, len(paths) - 1)]
    facts = [
        {
            "image": base64.b64encode(images.thumbnail(_open(path), tile_px)).decode(),
            "label": label,
            "nearest": [[int(i), round(float(similarity[row, i]), 3)] for i in nearest[row]],
        }
        for row, (path, label) in enumerate(zip(paths, labels, strict=True))
    ]
    # In a script element only "<" can end it; labels are put into the page as text, never as HTML.
    return Viewer(_PAGE.replace("FACTS", json.dumps(facts).replace("<", "\\u003c")))


def _tiles(count: int, columns: int, title: str, text_inches: float = 0.25) -> tuple[Figure, list[Axes]]:
    columns = min(columns, count)
    rows = -(-count // columns)
    height = (_INCHES + text_inches) * rows + 0.3 * bool(title)
    figure = Figure(figsize=(_INCHES * columns, height), layout="constrained")
    tiles = list(np.atleast_1d(figure.subplots(rows, columns)).ravel())
    for tile in tiles:
        tile.set_axis_off()
    if title:
        figure.suptitle(title, fontsize=_TEXT_PT + 2)
    return figure, tiles


def _tile(tile: Axes, image: ImageSource, text: str, frame: str | None) -> None:
    small = _open(image).copy()
    small.thumbnail((_TILE_PX, _TILE_PX))
    tile.set_axis_on()
    tile.set(xticks=[], yticks=[])
    tile.imshow(small)
    tile.set_title(text, fontsize=_TEXT_PT)
    for spine in tile.spines.values():
        spine.set(visible=frame is not None, color=frame, linewidth=2)


def _open(image: ImageSource) -> Image.Image:
    return image if isinstance(image, Image.Image) else images.decode(image.read_bytes(), min_side=_TILE_PX)


_PAGE = """<!doctype html>
<meta charset="utf-8">
<style>
body { font: 13px system-ui, sans-serif; margin: 8px }
div { display: flex; flex-wrap: wrap; gap: 6px; margin-bottom: 12px }
button { border: 3px solid #ced4da; border-radius: 6px; background: none; padding: 2px; cursor: pointer }
button.right { border-color: #2b8a3e } button.wrong { border-color: #c92a2a }
img { display: block }
</style>
<p>Click an image: its nearest come first, green where the label is the same.</p>
<div id="found"></div><div id="all"></div>
<script>
const facts = FACTS;
const found = document.getElementById("found"), all = document.getElementById("all");
function tile(i, text, kind) {
  const button = document.createElement("button"), image = document.createElement("img");
  image.src = "data:image/jpeg;base64," + facts[i].image;
  image.alt = facts[i].label;
  button.title = facts[i].label;
  button.className = kind;
  button.append(image, text);
  button.onclick = () => show(i);
  return button;
}
function show(i) {
  found.replaceChildren(tile(i, "query", ""), ...facts[i].nearest.map(([j, similarity]) =>
    tile(j, similarity.toFixed(2), facts[j].label === facts[i].label ? "right" : "wrong")));
}
all.replaceChildren(...facts.map((_, i) => tile(i, "", "")));
show(0);
</script>
"""
