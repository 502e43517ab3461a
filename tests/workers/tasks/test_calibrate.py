"""What a publish learns of its answers' truth: from labels that training did not see, or why it learns nothing."""

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ml.data.seen_photos import packed, packed_names
from ml.model.bundle import Bundle
from ml.model.default import provide
from ml.model.head import unit_length
from ml.model.writer import replace_head
from ml.tuning.calibration import Calibration
from ml.tuning.calibration_fit import fit
from ml.tuning.gallery_head import UNLABELLED, fit_gallery, through
from ml.tuning.left_out import AsNew, of_gallery
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
    bundle = SimpleNamespace(lineage=lineage, files={})
    new: Any = SimpleNamespace(collection="new", embedder=SimpleNamespace(bundle=bundle))
    told, facts = calibrate(worker, new), kept["new"]
    store.close()
    if source is None:
        assert "6 classes that training did not see" in facts["reason"] and told["reason"] == facts["reason"]
    else:
        assert source in facts["source"]
        assert facts["classes"] == told["classes"] == (8 if lineage else 12)


def test_after_a_tuning_photos_ask_as_if_the_head_did_not_know_them(tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    plain = np.repeat(dice.normal(size=(14, 32)), 6, axis=0) + 0.8 * dice.normal(size=(84, 32))
    plain = unit_length(plain.astype(np.float32))
    views = [unit_length(plain + 0.1 * dice.normal(size=plain.shape).astype(np.float32))]
    fitted = fit_gallery(plain, views)
    ids = [id_of(number) for number in range(84)]
    similarities = of_gallery(fitted, UNLABELLED, plain, views)
    network = Bundle.load(provide(tmp_path / "work", tmp_path / "compiled"))
    made = replace_head(
        network,
        network.load_head(),
        tmp_path / "tuned",
        name="tuned",
        lineage={"tuning": {}},
        as_new=AsNew.of(ids, similarities).tensors(),
    )
    tuned = through(fitted.linear_map)(plain)
    store = EdgeStore(tmp_path / "store")
    store.ensure("new", 32)
    of_class = [f"class {n // 6:02}" for n in range(84)]
    store.upsert("new", [Point(id, v, Payload(id, label)) for id, v, label in zip(ids, tuned, of_class, strict=True)])
    kept: dict[str, Any] = {}
    worker: Any = SimpleNamespace(store=store, registry=SimpleNamespace(set_calibration=kept.__setitem__))
    calibrate(worker, SimpleNamespace(collection="new", embedder=SimpleNamespace(bundle=made)))  # type: ignore[arg-type]
    order = [ids.index(p.id) for label in store.labels("new") for p in store.points("new", label=label, limit=100)]
    store.close()
    codes = np.unique([of_class[n] for n in order], return_inverse=True)[1]
    as_new = similarities[np.ix_(order, order)], np.ones(84, bool)
    expected = fit(tuned[order], codes, source="your labels", as_new=as_new)
    found = Calibration.from_json(kept["new"])
    assert found.first == pytest.approx(expected.first, rel=2e-2, abs=2e-2)
    assert found.of_gallery is not None and expected.of_gallery is not None
    assert found.of_gallery[0] == pytest.approx(expected.of_gallery[0], rel=1e-3)
    assert found.first != pytest.approx(found.of_gallery[0], rel=1e-1)
