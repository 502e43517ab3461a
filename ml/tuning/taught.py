"""Whether a gallery taught its model: what labels taught is better than what a gallery's views and pairs tell.

A head that is fitted to a gallery finds more among things that labels never named. Photos of classes that a network
was fine-tuned on are found less well by it: on `grocery/train`, new photos of taught classes fell from 87.7 to 82.2
mAP@R by the scheme that classes which were held out gain most by (docs/explanation/tuning.md). The trial at the end of
a training notes what photos that taught it lose (ml.training.tuning_trial), which is about as much; a gallery loses
that by the share of its photos that taught the model.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ml.data.seen_photos import SeenPhotos
from ml.tuning.gallery_head import CONFIRMED

TAUGHT_BEFORE, TAUGHT = "taught_map@r_before", "taught_map@r"  # in a lineage, below CONFIRMED
_MOST_LOST = 0.005  # mAP@R


def why_not(lineage: Mapping[str, Any], sha256: Iterable[str]) -> str | None:
    """Why a model's head had better not be fitted to a gallery; None where it may be.

    Args:
        lineage: of the model. One without the figures of a trial says nothing against it.
        sha256: of the gallery's photos, or of a fair draw of them; their ids, beginnings of these, do as well.
    """
    figures = lineage.get(CONFIRMED) or {}
    before, after = (float(figures.get(name, 0.0)) for name in (TAUGHT_BEFORE, TAUGHT))
    if before - after <= _MOST_LOST:  # whatever the photos are
        return None
    seen = SeenPhotos(dict(lineage))
    are_seen = [content in seen for content in sha256]
    share = sum(are_seen) / max(1, len(are_seen))
    if share * (before - after) <= _MOST_LOST:
        return None
    return (
        f"{100 * share:.0f} % of the gallery's photos taught the model, and such photos are found less well by a head"
        f" that is fitted to the gallery (mAP@R {100 * after:.1f} instead of {100 * before:.1f})"
    )
