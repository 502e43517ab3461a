"""Evaluation: the figures of a model on labelled images, and the page that shows them."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ml.data import datasets
from ml.data.datasets import BadDataset
from ml.evaluation.evaluate import differences, evaluate, evaluate_distances, measure
from ml.evaluation.metrics import evaluate_retrieval
from ml.evaluation.report import render, write
from ml.names import ModelName
from ml.statistics.uncertainty import ByClass
from ml.training.config import preset_config
from ml.training.train import train
from tests.ml.conftest import write_image

HOSTILE = "<img src=x onerror=alert(1)>\"'&amp;"


@pytest.fixture(scope="module")
def model(products, tmp_path_factory):
    return train(preset_config("fast", test_px=64, dim=96), products, tmp_path_factory.mktemp("runs")).bundle.directory


@pytest.fixture(scope="module")
def measured(model, products):
    return evaluate(model, products, rerank=True, binary=True)


def test_every_figure_is_there_and_finite(measured):
    expected = {
        "recall@1",
        "recall@32",
        "precision@4",
        "map@r",
        "map",
        "r_precision",
        "median_rank",
        "nmi",
        "threshold",
    }
    expected |= {"comparative_recall@1", "comparative_recall@10", "match_rate", "dim64_map@r", "images", "classes"}
    expected |= {"binary_map@r", "binary_recall@1", "rerank_map@r", "rerank_recall@1", "rerank_map"}
    assert expected <= set(measured.metrics)
    assert all(math.isfinite(value) for name, value in measured.metrics.items() if name != "intervals")
    assert measured.metrics["images"] == 48


def test_figures_are_those_of_the_embeddings(measured):
    again = evaluate_retrieval(measured.embeddings, torch.from_numpy(measured.dataset.labels))
    assert measured.metrics["map@r"] == again.map_at_r
    torch.testing.assert_close(measured.embeddings.norm(dim=1), torch.ones(48))


def test_at_most_one_percent_of_false_pairs_pass_the_threshold(measured):
    labels = torch.from_numpy(measured.dataset.labels)
    similarity = measured.embeddings @ measured.embeddings.T
    false = similarity[(labels[:, None] != labels[None]).triu(1)]
    assert float((false >= measured.threshold + 1e-6).float().mean()) <= 0.01


def test_distances_rank_as_similarities_do(measured):
    labels = torch.from_numpy(measured.dataset.labels)
    distances = (2 - 2 * measured.embeddings @ measured.embeddings.T).numpy()
    found = evaluate_distances(distances, labels)
    assert found.map_at_r == pytest.approx(measured.metrics["map@r"], abs=1e-6)


@pytest.mark.parametrize("counts", [{"a": 3}, {"a": 1, "b": 1}])
def test_data_without_anything_to_measure_is_refused(model, tmp_path, counts):
    for name, count in counts.items():
        for number in range(count):
            write_image(tmp_path / name / f"{number}.jpg", seed=number)
    with pytest.raises(BadDataset, match="nothing to measure"):
        evaluate(model, datasets.load(tmp_path))


def test_the_report_holds_everything_it_shows(measured, tmp_path):
    file = tmp_path / "deep" / "report.html"
    write([measured], file)
    page = file.read_text("utf-8")
    assert page.count("data:image/jpeg;base64,") > 50
    assert page.count("<svg") >= 4
    for heading in ("In curves", "Where it fails", "Where it shines", "Map of the embeddings", "Class by class"):
        assert heading in page
    assert all(name in page for name in measured.dataset.classes)
    assert page.count("42 wrong ones") == 3, "of 48 photos 6 are of the query's class"
    assert "median rank of one right photo among 42 wrong ones; chance is 21" in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page)
    assert "url(" not in page and "<script" not in page and "@import" not in page
    assert "default-src 'none'" in page


def test_two_models_stand_side_by_side(measured):
    page = render([measured, measured])
    assert page.count(f'<th class="number">{measured.bundle.name}</th>') == 2
    assert 'class="number best"' not in page, "equal models differ by nothing"


def test_classes_of_two_models_stand_side_by_side(measured):
    lower = replace(measured.retrieval, average_precision_at_r=measured.retrieval.average_precision_at_r - 0.25)
    bundle = replace(measured.bundle, name=ModelName("second"))
    rows = re.findall(r"<tr>.*</tr>", render([measured, replace(measured, retrieval=lower, bundle=bundle)]))
    assert sum('<th class="number">mAP@R of second</th>' in row for row in rows) == 1
    assert sum('<span class="soft">-25.0</span>' in row for row in rows) == measured.metrics["classes"]


def test_the_better_of_two_models_is_marked_where_it_is_more_than_chance(measured):
    figures = {name: ByClass(0.5 * figure.sums, figure.counts) for name, figure in measured.figures.items()}
    metrics = measured.metrics | {name: figure.mean for name, figure in figures.items()}
    worse = replace(measured, figures=figures, metrics=metrics)
    assert render([measured, worse]).count('class="number best"') > 3
    gain = differences(measured, worse)["map@r"]
    assert gain["is_beyond_chance"] and gain["interval"][0] > 0
    assert not differences(measured, measured)["map@r"]["is_beyond_chance"]
    low, high = measured.metrics["intervals"]["map@r"]
    assert low <= measured.metrics["map@r"] <= high


@pytest.fixture(scope="module")
def judged():
    """Vectors of twenty classes that lie two by two beside each other."""
    random = np.random.default_rng(0)
    centres = np.repeat(random.normal(size=(10, 24)), 2, axis=0) + 0.5 * random.normal(size=(20, 24))
    rows = np.repeat(centres, 8, axis=0) + 0.5 * random.normal(size=(160, 24))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return measure(rows.astype(np.float32), np.repeat(np.arange(20), 8))


def test_it_says_how_true_probabilities_are(judged):
    names = ("same_precision", "same_recall", "brier", "ece")
    for name in names:
        low, high = judged.metrics["intervals"][name]
        assert 0 <= low < high <= 1 and 0 < judged.metrics[name] < 1
    curve = judged.metrics["reliability"]
    assert set(curve) == {"said", "right", "low", "high", "count"} and sum(curve["count"]) == 8 * 160
    assert judged.judged.figures()["ece"] == judged.metrics["ece"]


def test_the_report_draws_how_true_probabilities_are(measured, judged):
    shown = replace(measured, judged=judged.judged, metrics=measured.metrics | judged.metrics)
    page = render([shown, shown])
    assert "Is the first hit right?" in page and page.count('class="whisker s0"') == len(
        judged.metrics["reliability"]["said"]
    )
    low, high = judged.metrics["intervals"]["same_precision"]
    assert f"{100 * judged.metrics['same_precision']:.1f}<small>{100 * low:.1f} to {100 * high:.1f}</small>" in page


def test_with_few_classes_nothing_is_claimed_and_the_reason_is_told(measured):
    assert "brier" not in measured.metrics and "Is the first hit right?" not in render([measured])
    assert any("takes 12 classes of two photos" in note for note in measured.notes)


def test_a_model_that_was_trained_on_these_photos_says_so(measured, products):
    assert measured.seen == len(products)
    assert measured.bundle.lineage["data"]["photos"] not in render([measured])
    assert f"was trained on {len(products)} of these {len(products)} photos" in measured.notes[0]


def test_hostile_labels_and_file_names_are_shown_as_text(model, tmp_path):
    for label in range(2):
        for number in range(3):
            folder = tmp_path / f"{HOSTILE.replace('/', '')}{label}"
            folder.mkdir(exist_ok=True)
            noise = np.random.default_rng(10 * label + number).integers(0, 255, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / f"{number}<b>.png")
    page = render([evaluate(model, datasets.load(tmp_path))])
    assert "<img src=x" not in page
    assert "<b>.png" not in page
    assert "&lt;img src=x onerror" in page


def test_an_image_that_was_removed_leaves_a_gap(measured, model, tmp_path):
    for label in "ab":
        for number in range(2):
            write_image(tmp_path / label / f"{number}.jpg", seed=ord(label) + number)
    found = evaluate(model, datasets.load(tmp_path))
    (tmp_path / "a" / "0.jpg").unlink()
    assert 'class="missing"' in render([found])
