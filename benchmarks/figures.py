"""The figures of docs/explanation: python benchmarks/figures.py

docs/images/temperature.svg    probability of the right class against the margin of its cosine
docs/images/similarities.svg   similarity of pairs, before and after a head in closed form, on drawn photos
"""

import tempfile
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deploy import demo_photos
from ml.data import datasets
from ml.evaluation.evaluate import Evaluation, evaluate
from ml.evaluation.pairs import count_pairs
from ml.model.default import write_default
from ml.training.config import preset_config
from ml.training.train import train

IMAGES = Path(__file__).parents[1] / "docs" / "images"
CLASSES = 61


def temperature() -> Figure:
    """Softmax over one right class and sixty wrong ones, all as far away."""
    figure = Figure(figsize=(5.5, 3), layout="constrained")
    axes = figure.subplots()
    margin = np.linspace(0, 1, 200)
    for value in (1.0, 0.2, 0.05):
        axes.plot(margin, 1 / (1 + (CLASSES - 1) * np.exp(-margin / value)), label=f"temperature {value:g}")
    axes.set(xlabel="cosine to the right class less that to the others", ylabel="probability", ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def similarities(work: Path) -> Figure:
    """Two histograms, with the threshold that 1 % of the pairs of different classes reach."""
    demo_photos.make(work / "photos", products=48, views=8, size_px=192)
    data, test = datasets.split_by_class(datasets.load(work / "photos"), 0.5)
    write_default(work / "untrained")
    trained = train(preset_config("fast", holdout=0.0, test_px=192), data, work / "runs")
    assert trained is not None
    found = {"untrained": work / "untrained", "head in closed form": trained.bundle.directory}
    figure = Figure(figsize=(7, 3), layout="constrained")
    for axes, (name, folder) in zip(figure.subplots(1, 2, sharey=True), found.items(), strict=True):
        _histogram(axes, name, evaluate(folder, test))
    return figure


def _histogram(axes: Axes, name: str, one: Evaluation) -> None:
    pairs = count_pairs(one.embeddings, torch.from_numpy(one.dataset.labels))
    coarse = pairs.edges[:: len(pairs.same) // 100]
    for what, counts, colour in (("different", pairs.different, "#c92a2a"), ("same", pairs.same, "#2b8a3e")):
        share = counts.reshape(100, -1).sum(1) / counts.sum()
        axes.stairs(share, coarse, fill=True, alpha=0.5, color=colour, label=f"{what} class")
    threshold = pairs.threshold()
    passed = 100 * pairs.match_rate(threshold)[0]
    axes.axvline(threshold, color="#495057", label=f"threshold: {passed:.0f} % of same pass")
    axes.set(title=f"{name}, mAP@R {100 * one.metrics['map@r']:.0f}", xlabel="similarity", xlim=(-0.6, 1))
    axes.legend(fontsize=7)


def main() -> None:
    mpl.rcParams["svg.hashsalt"] = "lookalike"  # the same figure gives the same file
    with tempfile.TemporaryDirectory() as folder:
        for name, figure in {"temperature": temperature(), "similarities": similarities(Path(folder))}.items():
            figure.savefig(IMAGES / f"{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
