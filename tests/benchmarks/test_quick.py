"""Benchmarks run, and report what the documents quote. How fast this machine is fails no test."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def report_of(script: str, *arguments: str, size: str = "--quick") -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOOKALIKE_")}
    child = subprocess.run(
        [sys.executable, "-P", f"benchmarks/{script}", size, *arguments],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=280,
    )
    return json.loads(child.stdout)


def test_the_embedder_is_measured_beside_its_peers():
    report = report_of("embedding.py", "--json")
    for group in ("forward", "end to end", "decode"):
        figures = report["images/s"][group]
        assert next(iter(figures)) == "ours" and figures["ours"]["ours is times as fast"] == 1
        assert all(each["images/s"] > 0 for each in figures.values())
    assert "original: torchvision, torch eager" in report["images/s"]["end to end"]
    assert set(report["limit"]["GFLOP/s"]) == {"bf16", "f32"}
    # 0.4 billion multiplications, says the network's own publication.
    assert 0.7 < report["limit"]["GFLOP an image"] < 0.9


def test_indexing_is_measured_and_finds_every_photo_again():
    report = report_of("indexing.py")
    assert report["index"]["added"] == report["index again"]["unchanged"] == 12
    assert report["index"]["failed"] == 0
    assert report["search"]["queries"] == report["search"]["found themselves first"] == 12
    assert report["search"]["lowest similarity to themselves"] >= 0.999


def test_what_serves_is_compared_with_torch():
    figures = report_of("serving_path.py")["against torch"]
    assert set(figures) > {"torch f32", "onnx f32"}
    assert figures["onnx f32"]["lowest cosine"] > 0.9999
    assert all(each["mean cosine"] > 0.995 for each in figures.values())  # bf16, as a bundle's golden image allows


def test_what_is_to_be_measured_on_a_gpu_runs():
    """At toy sizes on any machine, so that it surely runs where a GPU is at hand."""
    report = report_of("gpu.py", "--json", "--device", "cpu", size="--tiny")
    rates = ("eager f32, images/s", "eager 16 bits, images/s", "ours, images/s")
    for name in ("tf_efficientnet_lite0", "resnet50", "vit_small_patch16_224", "vit_base_patch16_224"):
        figures = report["forward"][name]
        assert all(figures[rate] > 0 for rate in rates), figures
        assert figures["lowest cosine with f32"] > 0.99
        assert figures["compiled 16 bits, bare"]["images/s"] > 0
        decoded = figures["from JPEG bytes"]
        assert decoded["decoded on the CPU, images/s"] > 0
        assert decoded["highest cosine distance of the two"] < 0.01
    assert all(figures["images/s"] > 0 for figures in report["training"].values())
    assert report["one rank"]["step"] == "done"


def test_answers_are_compared_with_labels_drawn_by_chance():
    report = report_of("labelling.py")
    assert 0 < report["answers"] <= 12
    assert report["photos with a class"] >= report["answers"]
    assert report["wrong labels"] == 0
    assert set(report["mAP@R"]) == {"answers", "drawn by chance", "standard deviation"}


def test_training_is_compared_with_other_loops():
    rows = report_of("training.py", "--only", "accurate", "pml", "--json")["rows"]
    assert [row["row"] for row in rows] == ["accurate", "pml"]
    assert all(0 < row["map@r"] <= 1 and len(row["by_class"]["counts"]) == 6 for row in rows)
