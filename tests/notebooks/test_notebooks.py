"""Each notebook runs from top to bottom, and computes what it says."""

import json
from pathlib import Path

import pytest

from tests.notebooks.conftest import ROOT, Execute

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_with_small_outputs(path: Path) -> None:
    cells = json.loads(path.read_text("utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert outputs, "run it before committing it"
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert path.stat().st_size < 500_000


def test_the_nearest_of_a_query_and_of_a_turning_product_are_the_product(execute: Execute) -> None:
    found = execute(
        "00_webcam",
        {
            "length": "float(np.abs(np.linalg.norm(vectors, axis=1) - 1).max())",
            "ordered": "bool((np.diff(similarity[order]) <= 0).all())",
            "nearest": "[path.parent.name for path in nearest[:3]]",
            "query": "paths[0].parent.name",
            "answers": "answers",
            "product": "paths[4].parent.name",
            "is_camera": "hasattr(camera, 'frame')",
        },
    )
    assert found["length"] < 1e-5 and found["ordered"] and found["is_camera"]
    assert found["query"] in found["nearest"]
    right = [answer for answer in found["answers"] if answer.startswith(found["product"])]
    assert len(right) > len(found["answers"]) / 2


def test_softmax_learns_its_classes_and_does_not_harm_others(execute: Execute) -> None:
    found = execute(
        "01_training_and_evaluation_introduction",
        {
            "before": "before.metrics['map@r']",
            "after": "after.metrics['map@r']",
            "losses": "[report.loss for report in result.history]",
            "same_order": "same_order",
            "overlap": "overlap",
            "median_rank": "median_rank",
            "shared_classes": "sorted(set(data.classes) & set(test.classes))",
            "neighbours": "viewer.page.count('nearest')",
            "shown": "len(shown)",
        },
    )
    assert found["shared_classes"] == []
    assert found["losses"][-1] < found["losses"][0] / 2
    assert found["after"] > 0.95 * found["before"]  # of so few real photos it learns little about other classes
    assert found["same_order"] and found["overlap"] >= 5
    assert found["median_rank"] <= 3
    assert found["neighbours"] >= found["shown"]


def test_normsoftmax_is_its_formula_and_both_evaluations_agree(execute: Execute) -> None:
    found = execute(
        "02_state_of_the_art",
        {
            "loss_difference": "loss_difference",
            "map_at_r": "{name: one.metrics['map@r'] for name, one in found.items()}",
            "recall": "[quick.recall[1], float(slow_recall)]",
            "average": "[quick.map_at_r, float(slow_map_at_r)]",
            "reranked": "again.map_at_r",
            "bits": "codes.map_at_r",
            "batch": "[int(label) for label in data.labels[batch]]",
        },
    )
    assert found["loss_difference"] < 1e-5
    assert found["recall"][0] == pytest.approx(found["recall"][1], abs=1e-6)
    assert found["average"][0] == pytest.approx(found["average"][1], abs=1e-6)
    untrained, trained = found["map_at_r"]["untrained"], found["map_at_r"]["normsoftmax"]
    assert trained > untrained and found["map_at_r"]["fast"] > untrained
    assert found["reranked"] > trained - 0.01
    assert found["bits"] > 0.75 * trained
    assert sorted(found["batch"].count(label) for label in set(found["batch"])) == [3, 3, 3, 3]


def test_engines_find_the_true_neighbours_and_filters_hold(execute: Execute) -> None:
    found = execute(
        "12_fast_retrieval",
        {
            "recall": "recall",
            "rank": "rank",
            "trade": "{name: [found for _, found, _ in points] for name, points in trade.items()}",
            "alone": "float(alone)",
            "rescored": "float(rescored)",
            "filtered": "[filtered, right_filtered]",
        },
    )
    assert len(found["trade"]) == 3  # FAISS's graph and inverted file, Qdrant's graph
    for name, recall in found["trade"].items():
        assert recall[0] < 0.9 and recall[-1] > 0.95, name
    for name in ("exhaustive", "scikit-learn tree", "Qdrant Edge"):
        assert min(found["recall"][name]) > 0.99, name  # exact; float32 may swap neighbours that are level
        assert found["rank"][name] == [1, 1, 1]
    assert min(found["recall"]["FAISS HNSW"]) > 0.85
    assert found["alone"] < found["rescored"] and found["rescored"] > 0.9
    filtered, right = found["filtered"]
    assert set(filtered) == set(right) and all(number % 2 for number in filtered)


@pytest.mark.timeout(400)
def test_a_model_goes_from_a_notebook_to_the_service_and_back(execute: Execute) -> None:
    found = execute(
        "21_from_notebook_to_service",
        {
            "added": "status.added",
            "state": "published.state",
            "models": "[first['model'], second['model'], third['model']]",
            "collections": "[first['collection'], second['collection'], third['collection']]",
            "name": "name",
            "matches": "[r['verdict'] for r in second['results']]",
            "first_matches": "[r['verdict'] for r in first['results']]",
            "same_answer": "same_answer",
            "itself": "second['results'][0]['similarity']",
        },
    )
    assert found["added"] == 80 and found["state"] == "done"
    untrained, published, back = found["models"]
    assert published == found["name"] and back == untrained != published
    assert found["collections"][0] == found["collections"][2] != found["collections"][1]
    # None where too few photos have labels to claim anything by: that depends on whose photos they are.
    assert {found["first_matches"][0], found["matches"][0]} <= {"same", None}
    assert found["same_answer"] and found["itself"] > 0.98


@pytest.mark.timeout(600)
def test_a_sweep_tries_everything_once_and_repeats_nothing(execute: Execute) -> None:
    found = execute(
        "11_exploring_hyperparameters",
        {
            "runs": "sorted((t.data, t.seed, sorted(t.settings.items())) for t in found.record.trials.values())",
            "states": "sorted({t.state for t in found.record.trials.values()})",
            "before": "before",
            "after": "len(resumed.record.trials)",
            "best": "found.best.settings",
            "means": "[row.map_at_r for row in table]",
            "clever": "[t.settings['lr'] for t in again.record.trials.values()]",
            "cut": "sorted((t.state, len(t.history)) for t in trials)",
            "winner": "[winner.lr, winner.train_px, winner.epochs]",
        },
    )
    # Four settings, two seeds, two sets; and the winner once more on each set, with a seed of its own.
    assert len(found["runs"]) == 18 and all(found["runs"].count(run) == 1 for run in found["runs"])
    sets_and_seeds = {(half, seed) for half in ("half-0", "half-1") for seed in (0, 1, 2)}
    assert {(run[0], run[1]) for run in found["runs"]} == sets_and_seeds
    assert found["states"] == ["done"] and found["before"] == found["after"] == 18
    assert found["means"] == sorted(found["means"], reverse=True)
    assert len(found["clever"]) == 7 and all(5e-5 <= lr <= 2e-3 for lr in found["clever"])
    # Of six the best two went on behind the first epoch, and one behind the third.
    assert found["cut"] == [["done", 4], *[["pruned", 1]] * 4, ["pruned", 3]]
    assert found["winner"] == [found["best"]["lr"], found["best"]["train_px"], 12]
