"""Whether a model is worth publishing, by what its training held out, and how sure that is."""

from collections.abc import Mapping
from typing import Any

_NOISE = 0.005  # of mAP@R, as in the check before publishing
_RUINED = 0.2

_FEW_HELD_OUT = 4

HELD_OUT_GAIN = "held_out_map@r_gain"  # by training; its interval is kept among the others


def is_no_better(metrics: Mapping[str, Any]) -> bool:
    """Whether a model does worse on what its training held out than the network did before, by more than noise.

    Where the interval of the difference is known, it has to lie below zero: of a few held-out images one alone moves
    the figure by several points. Of two or three classes the interval tells nothing: there a loss of many points counts
    by itself.
    """
    before, after = metrics.get("held_out_map@r_before"), metrics.get("held_out_map@r")
    if before is None or after is None or after >= before - _NOISE:
        return False
    bounds = metrics.get("intervals", {}).get(HELD_OUT_GAIN)
    return bounds is None or bounds[1] < 0 or after < before - _RUINED


def held_out_classes(lineage: Mapping[str, Any]) -> int:
    """How many whole classes a model was measured on that it never saw; 0 where photos or val rows were held out."""
    by_class = (lineage.get("holdout") or {}).get("split", "classes") == "classes"
    return len(lineage.get("held_out_classes") or ()) if by_class else 0


def are_few(held_out_classes: int) -> bool:
    """Whether figures of so many held-out classes, `is_no_better` among them, swing by ten points with the draw."""
    return 0 < held_out_classes < _FEW_HELD_OUT
