"""How the stand-in compares, judges, orders and selects photos: by their mean colour, without a model."""

from pathlib import PurePath
from typing import Any

import numpy as np

from ml.images import decode
from ml.model.registry import ModelRecord
from workers.messages import GalleryImage, Selection


def judged(similarity: float) -> tuple[float, str]:
    return (0.9, "same") if similarity > 0.95 else (0.1, "unlikely")


def colour_vector(data: bytes) -> np.ndarray:
    mean = np.asarray(decode(data), np.float64).mean((0, 1)) + 1
    return mean / np.linalg.norm(mean)


def by_similarity(pair: tuple[float, GalleryImage]) -> tuple[float, str]:
    return -pair[0], pair[1].id


def page_start(image: GalleryImage) -> str:
    return f"{int(image.added_at * 1e6)}-{image.id}"


def is_selected(image: GalleryImage, by: Selection) -> bool:
    """Of a selection's fields the ones that the portal's tests use."""
    words = f"{image.name} {image.label or ''}".casefold().split()
    return (
        by.label in (None, image.label)
        and not (by.unlabelled and image.label)
        and by.folder in (None, str(PurePath(image.path).parent))
        and all(any(word.startswith(asked) for word in words) for asked in (by.text or "").casefold().split())
        and (by.added_from or 0) <= image.added_at < (by.added_before or float("inf"))
    )


def model_record(name: str, metrics: dict[str, Any]) -> ModelRecord:
    return ModelRecord(
        name,
        "efficientnet_lite0",
        512,
        metrics,
        {"registered_at": 1_795_500_000.0, "held_out_classes": ["a", "b"]},
        None,
        "",
    )
