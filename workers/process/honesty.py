"""Which calibration a collection's answers are judged by, and why there is none."""

from typing import Any

from ml.model.bundle import Bundle
from ml.model.registry import DEFAULT_MODEL, Registry
from ml.records import Damaged
from ml.tuning.calibration import Calibration

_OTHERS = "photos of 41 kinds of groceries, not on yours"
# What benchmarks/constants.py prints: fitted on grocery/train, of the default model as it is and of the tuned one. New
# photos ask the tuned one; a query that is in the gallery, to which the head was fitted, has weights of its own.
_PLAIN = Calibration((22.61, 0.0, 1.94, -12.19, -8.38), (12.35, -9.38), 41, _OTHERS, {})
_TUNED = Calibration(
    (11.28, 0.0, 1.18, -4.19, -2.82),
    (9.34, -3.87),
    41,
    _OTHERS,
    {},
    of_gallery=((15.77, 0.0, -3.24, -6.12, -3.68), (12.76, -4.51)),
)


def was_trained(bundle: Bundle) -> bool:
    """Whether labels taught it, so that only classes held out from it tell how true its answers are."""
    return "held_out_classes" in bundle.lineage or "data" in bundle.lineage


def calibration_of(registry: Registry, bundle: Bundle, collection: str) -> tuple[Calibration | None, str]:
    """What was fitted when the collection was published; constants for the default model; else None, and the reason."""
    try:
        stored: dict[str, Any] = registry.calibration(collection) or {}
        if "first" in stored:
            calibration = Calibration.from_json(stored)
            return calibration, _said(calibration)
    except (Damaged, ValueError, KeyError, TypeError) as error:
        stored = {"reason": f"its record is damaged: {error}"}
    if not was_trained(bundle) and bundle.name.startswith(DEFAULT_MODEL):
        constants = _TUNED if "tuning" in bundle.lineage else _PLAIN
        return constants, _said(constants)
    return None, str(
        stored.get("reason") or "the model was published before probabilities were known: publish it again"
    )


def _said(calibration: Calibration) -> str:
    return f"fitted on {calibration.source}"
