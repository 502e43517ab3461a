"""Writing a bundle: network, weights, head, and a golden input/output pair.

`ml.model.bundle` says what the files hold and reads them, `ml.model.save` saves models of torch. Nothing here imports
torch: the default model is made, and a head is replaced, without it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from ml import files, images, records
from ml.errors import BadBundle
from ml.model.bundle import (
    AS_NEW,
    FORMAT,
    GOLDEN_IMAGE,
    GOLDEN_VECTOR,
    HEAD,
    NETWORK,
    WEIGHTS,
    Bundle,
    sha256_of,
)
from ml.model.head import Head
from ml.names import MODEL_JSON, ModelName
from ml.preprocessing import Preprocessing


@dataclass(frozen=True)
class Parts:
    """What a bundle is made of.

    Args:
        backbone: timm's name.
        weights: of the backbone, under timm's names.
        network: the same as ONNX, from pixels to features; None where it cannot be written so.
        head: what follows the network.
        preprocessing: what precedes it.
        golden_features: float32 [views, feature_dim] that the network gives for `golden_views`, in float32.
    """

    backbone: str
    weights: Mapping[str, np.ndarray]
    network: bytes | None
    head: Head
    preprocessing: Preprocessing
    golden_features: np.ndarray


def write_bundle(
    parts: Parts,
    directory: Path,
    *,
    name: str,
    metrics: Mapping[str, Any] | None = None,
    lineage: Mapping[str, Any] | None = None,
    threshold: float | None = None,
    as_new: Mapping[str, np.ndarray] | None = None,
) -> Bundle:
    """Writes a bundle, whole or not at all; one that stands there is replaced in one step.

    Args:
        parts: of the model.
        directory: must not exist, or be a bundle that is then replaced.
        name: of the model.
        metrics: what was measured on it, plain JSON.
        lineage: where it comes from (data, configuration, commit), plain JSON.
        threshold: similarity that 1 % of pairs of different labels pass, if known.
        as_new: tensors of what ml.tuning.left_out keeps of a gallery.

    Raises:
        BadBundle: the directory holds something else.
        BadName: the name is none that a model can have.
    """
    directory = Path(directory)
    if directory.exists() and any(directory.iterdir()) and not (directory / MODEL_JSON).exists():
        raise BadBundle(f"{directory} exists and holds no model", hint="name a new folder")
    with files.draft(directory) as draft:
        draft.mkdir()
        embedding = parts.head(parts.golden_features[:, None])[0]
        save_file(dict(parts.weights), draft / WEIGHTS)
        save_file(parts.head.tensors(), draft / HEAD)
        if as_new is not None:
            save_file(dict(as_new), draft / AS_NEW)
        if parts.network is not None:
            (draft / NETWORK).write_bytes(parts.network)
        (draft / GOLDEN_IMAGE).write_bytes(golden_jpeg())
        golden = {"pixels": golden_pixels(parts.preprocessing), "features": parts.golden_features}
        save_file(golden | {"embedding": embedding}, draft / GOLDEN_VECTOR)
        facts = {
            "format": FORMAT,
            "name": ModelName(name),
            "backbone": parts.backbone,
            "dim": len(embedding),
            "head": {"layer_norm": parts.head.layer_norm},
            "preprocessing": parts.preprocessing.to_json(),
            "metrics": dict(metrics or {}),
            "lineage": dict(lineage or {}),
            "threshold": threshold,
            "files": {path.name: sha256_of(path) for path in sorted(draft.iterdir())},
        }
        (draft / MODEL_JSON).write_text(records.dumps(facts, indent=2) + "\n", "utf-8")
    return Bundle.load(directory)


def replace_head(
    bundle: Bundle,
    head: Head,
    directory: Path,
    *,
    name: str,
    metrics: Mapping[str, Any] | None = None,
    lineage: Mapping[str, Any] | None = None,
    threshold: float | None = None,
    as_new: Mapping[str, np.ndarray] | None = None,
) -> Bundle:
    """Writes a bundle with the network of another one and a new head. Needs no torch and computes no network.

    Args:
        bundle: gives network, weights and preprocessing.
        head: takes the features of that network. With `tuning` alone changed, what the collection of `bundle` stores
            becomes the new collection by `head.tune` of those maps.
        directory: must not exist, or be a bundle that is then replaced.
        name: of the new model.
        metrics: what was measured on it, plain JSON.
        lineage: where it comes from, plain JSON.
        threshold: similarity that 1 % of pairs of different labels pass, if known.
        as_new: tensors of what ml.tuning.left_out keeps of a gallery.

    Raises:
        BadBundle: the directory holds something else, or the head takes other features.
    """
    features = bundle.golden_features()
    try:
        head(features[:, None])
    except ValueError as error:
        raise BadBundle(f"the head does not take the {features.shape[1]} features of model {bundle.name}") from error
    network = None if bundle.network is None else bundle.network.read_bytes()
    weights = bundle.tensors(WEIGHTS)
    parts = Parts(bundle.backbone, weights, network, head, bundle.preprocessing, features)
    return write_bundle(
        parts, directory, name=name, metrics=metrics, lineage=lineage, threshold=threshold, as_new=as_new
    )


def golden_views(preprocessing: Preprocessing) -> np.ndarray:
    """The golden image as the network sees it, and its mirror image where it looks at both: uint8 [v, s, s, 3]."""
    pixels = golden_pixels(preprocessing)
    return np.stack([pixels, pixels[:, ::-1]]) if preprocessing.mirror else pixels[None]


def golden_pixels(preprocessing: Preprocessing) -> np.ndarray:
    """uint8 [size_px, size_px, 3]."""
    return preprocessing.apply(images.decode(golden_jpeg(), min_side=preprocessing.min_side)).copy()


def golden_jpeg() -> bytes:
    """An image with edges, colours, texture and smooth parts, the same for every model."""
    y, x = np.mgrid[0:320, 0:400].astype(np.float32)
    red = 128 + 100 * np.sin(x / 17) * np.cos(y / 23)
    green = 255 * (np.hypot(x - 150, y - 160) < 90) * 0.7 + x / 5
    blue = 128 + 90 * np.sin((x + 2 * y) / 9) * (y > 160) + y / 8
    noise = np.random.default_rng(0).normal(0, 6, (320, 400, 3))
    array = np.stack([red, green, blue], axis=-1) + noise
    return images.thumbnail(Image.fromarray(array.clip(0, 255).astype(np.uint8)), size_px=400)
