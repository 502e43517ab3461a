"""Writing a bundle: the weights, everything needed to use them, and a golden input/output pair.

`ml.model.bundle` says what the files hold and reads them.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch_file

from ml import files, images
from ml.errors import BadBundle
from ml.model.bundle import FORMAT, GOLDEN_IMAGE, GOLDEN_VECTOR, MODEL_JSON, WEIGHTS, Bundle, sha256_of
from ml.model.network import EmbeddingModel


def save_bundle(
    model: EmbeddingModel,
    directory: Path,
    *,
    name: str,
    metrics: Mapping[str, Any] | None = None,
    lineage: Mapping[str, Any] | None = None,
    threshold: float | None = None,
) -> Bundle:
    """Writes a bundle, whole or not at all; one that stands there is replaced in one step.

    Args:
        model: its `preprocessing`, backbone and head are saved with it.
        directory: must not exist, or be a bundle that is then replaced.
        name: of the model.
        metrics: what was measured on it, plain JSON.
        lineage: where it comes from (data, configuration, commit), plain JSON.
        threshold: similarity that 1 % of pairs of different labels pass, if known.

    Raises:
        BadBundle: the directory holds something else.
    """
    directory = Path(directory)
    if directory.exists() and any(directory.iterdir()) and not (directory / MODEL_JSON).exists():
        raise BadBundle(f"{directory} exists and holds no model", hint="name a new folder")
    with files.draft(directory) as draft:
        draft.mkdir()
        state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
        save_torch_file(state, draft / WEIGHTS)
        (draft / GOLDEN_IMAGE).write_bytes(golden_jpeg())
        image = images.decode((draft / GOLDEN_IMAGE).read_bytes(), min_side=model.preprocessing.min_side)
        pixels = model.preprocessing.apply(image)
        with torch.inference_mode():
            embedding = model.reference(torch.from_numpy(pixels[None].copy()))[0].numpy()
        save_file({"pixels": pixels.copy(), "embedding": embedding}, draft / GOLDEN_VECTOR)
        facts = {
            "format": FORMAT,
            "name": name,
            "backbone": model.backbone_name,
            "dim": model.dim,
            "head": model.head_config(),
            "preprocessing": model.preprocessing.to_json(),
            "metrics": dict(metrics or {}),
            "lineage": dict(lineage or {}),
            "threshold": threshold,
            "files": {file: sha256_of(draft / file) for file in (WEIGHTS, GOLDEN_IMAGE, GOLDEN_VECTOR)},
        }
        (draft / MODEL_JSON).write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    return Bundle.load(directory)


def golden_jpeg() -> bytes:
    """An image with edges, colours, texture and smooth parts, the same for every model."""
    y, x = np.mgrid[0:320, 0:400].astype(np.float32)
    red = 128 + 100 * np.sin(x / 17) * np.cos(y / 23)
    green = 255 * (np.hypot(x - 150, y - 160) < 90) * 0.7 + x / 5
    blue = 128 + 90 * np.sin((x + 2 * y) / 9) * (y > 160) + y / 8
    noise = np.random.default_rng(0).normal(0, 6, (320, 400, 3))
    array = np.stack([red, green, blue], axis=-1) + noise
    return images.thumbnail(Image.fromarray(array.clip(0, 255).astype(np.uint8)), size_px=400)
