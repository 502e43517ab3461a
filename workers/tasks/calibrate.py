"""Fits how likely hits are right, before a collection answers: on labels that its model's training did not see."""

import time
from typing import Any

import numpy as np

from ml.data.seen_photos import SeenPhotos, knows_class
from ml.tuning.calibration_fit import TooFewClasses, fit
from ml.tuning.left_out import AsNew
from workers.process.honesty import was_trained
from workers.process.serving import Serving, ServingModel

_SAMPLE = 2000  # labelled images
_OF_ONE_LABEL = 100
_AT_ONCE = 10  # vectors that are fetched between two searches


def calibrate(serving: Serving, new: ServingModel) -> dict[str, Any]:
    """Fits it and notes it with the collection. Returns what a person is told: classes and figures, or the reason."""
    lineage = new.embedder.bundle.lineage
    is_trained = was_trained(new.embedder.bundle)
    held_out = set(lineage.get("held_out_classes") or ())
    trained_on = SeenPhotos(lineage)
    labels: list[str] = []
    stored: dict[str, np.ndarray] = {}
    for label, count in serving.store.labels(new.collection).items():
        if count < 2 or (is_trained and label not in held_out and knows_class(lineage, label)):
            continue
        ids = [point.id for point in serving.store.points(new.collection, label=label, limit=_OF_ONE_LABEL)]
        if is_trained and label not in held_out and any(id in trained_on for id in ids):
            continue  # the same photos under another name
        found = stored_vectors(serving, new.collection, ids)
        stored |= found
        labels += [label] * len(found)
        if len(labels) >= _SAMPLE:
            break
    codes = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    vectors = np.stack(list(stored.values())) if stored else np.empty((0, 1), np.float32)
    try:
        source = "your labels that training did not see" if is_trained else "your labels"
        kept = AsNew.load(new.embedder.bundle)
        as_new = None if kept is None else kept.among(list(stored), vectors)
        facts = fit(vectors, codes, source=source, as_new=as_new).to_json()
    except TooFewClasses as error:
        facts = {"reason": error.message}
    serving.registry.set_calibration(new.collection, facts)
    return {key: facts[key] for key in ("reason", "classes", "figures") if key in facts}


def stored_vectors(serving: Serving, collection: str, ids: list[str]) -> dict[str, np.ndarray]:
    """id -> stored vector; a few at a time, because turning them into arrays keeps searches from running."""
    found: dict[str, np.ndarray] = {}
    for start in range(0, len(ids), _AT_ONCE):
        stored = serving.store.fetch(collection, ids[start : start + _AT_ONCE], with_vectors=True)
        found |= {id: point.vector for id, point in stored.items() if point.vector is not None}
        time.sleep(0.005)
    return found
