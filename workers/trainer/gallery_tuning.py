"""The end of a training: its head is fitted to the gallery's own photos, where held-out classes confirmed that.

The photos need no label. What was confirmed, and how, is ml.training.tuning_trial's; the fit is that of
`lookalike tune` (ml.tuning.gallery_head), of at most as many photos as that varies. The model answers better about
photos like these; figures of photos that it was fitted to are *transductive*, and are marked so.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ml.data import decoding
from ml.data.datasets import Dataset, Progress
from ml.data.seen_photos import packed
from ml.evaluation.evaluate import embed
from ml.model import embedder
from ml.model.bundle import Bundle
from ml.model.writer import replace_head
from ml.tuning import taught
from ml.tuning.gallery_head import CONFIRMED, FEWEST_PHOTOS, GalleryTooSmall, Scheme, fit_gallery, views_for
from ml.tuning.left_out import AsNew, of_gallery
from ml.tuning.views import views

_AT_ONCE = 32  # photos whose views are held in memory


def tuned_to(
    bundle: Bundle,
    photos: Dataset | None,
    directory: Path,
    *,
    device: str,
    cache_dir: Path | None,
    on_progress: Progress | None,
    say: Callable[[str], None],
) -> Bundle | None:
    """The model with its head fitted to photos; None where that was not confirmed, or they are too few, or most of
    them taught the model, which is said.

    Args:
        bundle: a trained model.
        photos: of the gallery, None of an empty one; labels are not looked at.
        directory: of the new bundle.
        device: auto, cuda or cpu.
        cache_dir: of compiled models.
        on_progress: told how far it is.
        say: told the reason.
    """
    confirmed = bundle.lineage.get(CONFIRMED) or {}
    if not confirmed.get("scheme"):
        if "why" in confirmed:
            say(f"the head stays as labels taught it: {confirmed['why']}")
        return None
    if photos is None or len(photos) < FEWEST_PHOTOS:
        say(f"once {FEWEST_PHOTOS} photos are indexed, lookalike tune fits the head to them: {confirmed['why']}")
        return None
    if reason := taught.why_not(bundle.lineage, photos.sha256):
        say(f"the head stays as labels taught it: {reason}")
        return None
    model = embedder.load(bundle.directory, device=device, cache_dir=cache_dir)
    decoded = decoding.decode(photos, model.preprocessing, on_progress=on_progress)
    pixels, scheme = decoded.array, Scheme.of(bundle.lineage)
    vectors = embed(model, pixels).numpy()
    count = views_for(len(pixels))
    parts = []
    for start in range(0, len(pixels), _AT_ONCE):
        some = pixels[start : start + _AT_ONCE]
        drawn = np.concatenate([views(each, count, seed=start + n) for n, each in enumerate(some)])
        parts.append(embed(model, drawn).numpy().reshape(len(some), count, -1))
        if on_progress:
            on_progress("reading views of the gallery", start + len(some), len(pixels))
    try:
        of_each_view = list(np.concatenate(parts).transpose(1, 0, 2))
        fitted = fit_gallery(vectors, of_each_view, scheme)
    except GalleryTooSmall as error:
        say(error.message)
        return None
    facts: dict[str, Any] = {
        "photos": len(pixels),
        "views": fitted.views,
        "pairs": fitted.pairs,
        "neighbours": fitted.neighbours,
        "seen": packed(decoded.dataset.sha256),
    }
    head = replace(bundle.load_head(), tuning=(fitted.linear_map,))
    lineage = dict(bundle.lineage) | {"tuning": facts}
    # The threshold was one of other similarities.
    as_new = AsNew.of(decoded.dataset.sha256, of_gallery(fitted, scheme, vectors, of_each_view))
    return replace_head(
        bundle,
        head,
        directory,
        name=bundle.name,
        metrics=bundle.metrics,
        lineage=lineage,
        as_new=as_new.tensors(),
    )
