"""What a publish learns of its answers' truth: from labels that training did not see, or why it learns nothing."""

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ml.data.seen_photos import packed, packed_names
from workers.store import Payload, Point
from workers.store.edge import EdgeStore
from workers.tasks.calibrate import calibrate


def id_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()[:32]


@pytest.mark.parametrize(
    "lineage, source",
    [
        ({}, "your labels"),
        ({"data": {"name": "mine"}, "held_out_classes": [f"class {n}" for n in range(8)]}, "training did not see"),
        ({"data": {"name": "mine"}, "held_out_classes": ["class 1"]}, None),
        ({"data": {"name": "mine"}}, None),
        ({"data": {"class_names": packed_names(f"class {n}" for n in range(4)), "photos": ""}}, "training did not see"),
        ({"data": {"class_names": "", "photos": packed(id_of(6 * n) for n in range(4))}}, "training did not see"),
        ({"data": {"class_names": packed_names(f"class {n}" for n in range(9)), "photos": ""}}, None),
    ],
)
def test_probabilities_are_fitted_on_labels_that_training_did_not_see(
    lineage: dict[str, Any], source: str | None, tmp_path: Path
) -> None:
    dice = np.random.default_rng(0)
    rows = np.repeat(dice.normal(size=(12, 8)), 6, axis=0) + 0.3 * dice.normal(size=(72, 8))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    store = EdgeStore(tmp_path / "store")
    store.ensure("new", 8)
    points = [Point(id_of(n), row, Payload(f"{n}.jpg", f"class {n // 6}")) for n, row in enumerate(rows)]
    store.upsert("new", points)
    kept: dict[str, Any] = {}
    worker: Any = SimpleNamespace(store=store, registry=SimpleNamespace(set_calibration=kept.__setitem__))
    bundle = SimpleNamespace(lineage=lineage)
    new: Any = SimpleNamespace(collection="new", embedder=SimpleNamespace(bundle=bundle))
    told, facts = calibrate(worker, new), kept["new"]
    store.close()
    if source is None:
        assert "6 classes that training did not see" in facts["reason"] and told["reason"] == facts["reason"]
    else:
        assert source in facts["source"]
        assert facts["classes"] == told["classes"] == (8 if lineage else 12)
