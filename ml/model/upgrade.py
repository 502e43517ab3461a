"""Brings a bundle of format 1, which held weights alone, to the format of today: `python -m ml.model.upgrade FOLDER`.

A model on the default backbone needs nothing for it; any other needs torch and timm, in a child process, so that a
worker that meets an old model does not load them.
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np

from ml import child_process, files, records
from ml.errors import BadBundle, LookalikeError
from ml.model.bundle import FORMAT, GOLDEN_VECTOR, TIGHT_COSINE, Bundle, OldBundle, sha256_of
from ml.model.head import Head, LinearMap
from ml.model.writer import Parts, golden_views, write_bundle
from ml.names import MODEL_JSON
from ml.tensors import Expected

_WEIGHTS = "model.safetensors"  # of format 1: backbone.* and projection.*


def load_bundle(directory: Path) -> Bundle:
    """Reads a bundle, which is converted in place before if it is an old one.

    Raises:
        BadBundle: it is damaged, or cannot be converted here.
    """
    try:
        return Bundle.load(directory)
    except OldBundle:
        upgrade(directory)
        return Bundle.load(directory)


def upgrade(directory: Path) -> None:
    """Converts in place: the folder is replaced as a whole. Does nothing to a bundle of today's format.

    Raises:
        BadBundle: it is damaged, gives another golden vector than when it was saved, or needs packages that are not
            installed.
    """
    from ml.model import efficientnet_lite0  # imports onnx, which the portal does without

    old = read_old(directory)
    if old.format == FORMAT:
        return
    if old.backbone == efficientnet_lite0.NAME:
        weights, head = weights_and_head(old)
        preprocessing = old.preprocessing
        network = efficientnet_lite0.to_onnx(weights, preprocessing.size_px, preprocessing.mean, preprocessing.std)
        features = efficientnet_lite0.features(network, golden_views(preprocessing))
        replace(old, Parts(old.backbone, weights, network, head, preprocessing, features))
        return
    if any(importlib.util.find_spec(package) is None for package in ("torch", "timm")):
        raise BadBundle(
            f"model {old.name} was saved by an older Lookalike, and converting it needs training's packages",
            hint=f"where they are installed (make train), run: python -m ml.model.upgrade {directory}",
        )
    try:
        child_process.run("ml.model.torch_upgrade:upgrade", str(directory.resolve()))
    except LookalikeError as error:
        raise BadBundle(f"model {old.name} of an older Lookalike cannot be converted: {error.message}") from error


def read_old(directory: Path) -> Bundle:
    """What the model.json of an old bundle says."""
    try:
        return Bundle.from_json(directory, records.loads(files.read_regular(directory / MODEL_JSON, follow=False)))
    except (OSError, ValueError) as error:
        raise BadBundle(f"{directory / MODEL_JSON} cannot be read: {error}") from error


def weights_and_head(old: Bundle) -> tuple[dict[str, np.ndarray], Head]:
    """The backbone's weights under timm's names, and the head.

    Raises:
        BadBundle: a file is missing or changed.
    """
    for file_name, expected in old.files.items():
        if sha256_of(old.directory / file_name) != expected:
            raise BadBundle(
                f"{old.directory / file_name} is missing or not what was saved", hint="publish the model again"
            )
    state = old.tensors(_WEIGHTS)
    weights = {key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")}
    projection = None
    try:
        if old.head["projection"]:
            projection = LinearMap(state["projection.weight"], state.get("projection.bias"))
        return weights, Head(old.head["layer_norm"], projection)
    except (KeyError, ValueError) as error:
        raise BadBundle(f"the head of model {old.name} does not fit: {error}") from error


def replace(old: Bundle, parts: Parts) -> None:
    """Writes the converted bundle in the old one's place.

    Raises:
        BadBundle: it gives another golden vector than when the old one was saved.
    """
    golden = old.tensors(GOLDEN_VECTOR, {"embedding": Expected("float32", (old.dim,))})["embedding"]
    cosine = float(parts.head(parts.golden_features[:, None])[0] @ golden)
    if not cosine >= TIGHT_COSINE["f32"]:
        raise BadBundle(f"model {old.name} gives another vector than when it was saved (cosine {cosine:.5f})")
    write_bundle(parts, old.directory, name=old.name, metrics=old.metrics, lineage=old.lineage, threshold=old.threshold)


if __name__ == "__main__":
    try:
        for folder in sys.argv[1:]:
            upgrade(Path(folder))
    except (LookalikeError, OSError) as error:
        sys.exit(str(error))
