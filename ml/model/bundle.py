"""A model on disk: weights, everything needed to use them, and a proof that both still belong together.

A bundle is a folder:

    model.json            name, backbone, head, dim, preprocessing, metrics, lineage, threshold, checksums of the others
    model.safetensors     the weights
    golden.jpg            an image
    golden.safetensors    `pixels`, that image preprocessed, and `embedding`, the vector that the model gave for it

Preprocessing lives here and nowhere else: training, evaluation, indexing and search all call `Preprocessing.apply`.
Nothing in this module imports torch until a bundle is saved, so that a worker with a compiled model starts fast.
"""

import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from safetensors.numpy import load_file, save_file

from ml import images
from ml.errors import LookalikeError
from ml.storage import sync

if TYPE_CHECKING:
    from ml.model.network import EmbeddingModel

MODEL_JSON = "model.json"
WEIGHTS = "model.safetensors"
GOLDEN_IMAGE = "golden.jpg"
GOLDEN_VECTOR = "golden.safetensors"
FORMAT = 1

# The golden vector again, from the same pixels: only rounding may differ, and how much depends on the precision (bf16
# gives 0.998 and more). From the JPEG, another version of the decoder may differ by a grey level here and there.
TIGHT_COSINE = {"f32": 0.9999, "bf16": 0.995, "f16": 0.999}
LOOSE_COSINE = 0.99

DECODED_PX = 320

_INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_FITS = ("crop", "squash", "pad")


class BadBundle(LookalikeError):
    """A model on disk is damaged or incomplete, or does not give the vectors that it gave when it was saved."""


@dataclass(frozen=True)
class Preprocessing:
    """From an image to the pixels that the model sees. Every field is stored; none has a silent default.

    Args:
        size_px: side of the square that the model sees.
        resize_px: what the fitted side is scaled to before the middle `size_px` are taken; `size_px` keeps all.
        fit: "crop" scales the short side and takes the middle square, "squash" scales both sides to the square,
            "pad" scales the long side and fills up with the mean colour.
        interpolation: bilinear, bicubic or lanczos; always with the support of a proper reduction.
        mean: of red, green and blue in 0..1, subtracted in the model.
        std: of red, green and blue in 0..1, divided by in the model.
        mirror: the model averages the image with its mirror image.
    """

    size_px: int
    resize_px: int
    fit: str
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    mirror: bool

    def __post_init__(self) -> None:
        if not 8 <= self.size_px <= self.resize_px <= 4096:
            raise BadBundle(f"preprocessing sizes {self.size_px} and {self.resize_px} px make no sense")
        if self.fit not in _FITS or self.interpolation not in _INTERPOLATIONS:
            raise BadBundle(f"preprocessing has unknown fit {self.fit!r} or interpolation {self.interpolation!r}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise BadBundle(f"preprocessing mean {self.mean} and std {self.std} are no three numbers each")

    @property
    def min_side(self) -> int:
        """Short side, in pixels, that `images.decode` has to leave for `apply` to lose nothing.

        At least that of a thumbnail: the vector must not depend on whether the same decoding also serves for one.
        """
        return max(self.resize_px, DECODED_PX)

    def apply(self, image: Image.Image) -> np.ndarray:
        """Scales and cuts an image.

        Args:
            image: mode RGB, any size.

        Returns:
            uint8 [size_px, size_px, 3]. Mean and std are applied inside the model.
        """
        size, resample = self.size_px, _INTERPOLATIONS[self.interpolation]
        width, height = image.size
        kept = size / self.resize_px
        # The cut is made in the source's coordinates, so that an image of 4000 x 8 pixels is never blown up whole.
        short = min(width, height)
        cut_x, cut_y = (kept * short, kept * short) if self.fit == "crop" else (kept * width, kept * height)
        left, top = (width - cut_x) / 2, (height - cut_y) / 2
        box = (left, top, left + cut_x, top + cut_y)
        if self.fit != "pad":
            return np.asarray(image.resize((size, size), resample, box, reducing_gap=2.0))
        scale = size / max(cut_x, cut_y)
        fitted = (max(1, round(cut_x * scale)), max(1, round(cut_y * scale)))
        square = Image.new("RGB", (size, size), tuple(round(255 * channel) for channel in self.mean))
        place = ((size - fitted[0]) // 2, (size - fitted[1]) // 2)
        square.paste(image.resize(fitted, resample, box, reducing_gap=2.0), place)
        return np.asarray(square)

    def to_json(self) -> dict[str, Any]:
        """A dict of plain JSON types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Preprocessing":
        """The inverse of `to_json`.

        Raises:
            BadBundle: a field is missing, unknown or senseless. There are no defaults.
        """
        names = {f.name for f in dataclasses.fields(cls)}
        missing, unknown = sorted(names - set(data)), sorted(set(data) - names)
        if missing or unknown:
            what = f"lacks {missing[0]}" if missing else f"has an unknown field {unknown[0]}"
            raise BadBundle(f"the preprocessing of the model {what}", hint="export the model again")
        values = dict(data)
        try:
            for name in ("mean", "std"):
                values[name] = tuple(float(value) for value in values[name])
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise BadBundle(f"the preprocessing of the model makes no sense: {error}") from error


@dataclass(frozen=True)
class Bundle:
    """A checked bundle. `sha256` names its content: weights, head and preprocessing, not its metrics or lineage."""

    directory: Path
    name: str
    backbone: str
    dim: int
    head: dict[str, Any]
    preprocessing: Preprocessing
    metrics: dict[str, Any]
    lineage: dict[str, Any]
    threshold: float | None
    files: dict[str, str]

    @property
    def sha256(self) -> str:
        facts: dict[str, Any] = {"files": self.files, "head": self.head, "preprocessing": self.preprocessing.to_json()}
        facts |= {"backbone": self.backbone, "dim": self.dim, "format": FORMAT}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    @classmethod
    def load(cls, directory: Path) -> "Bundle":
        """Reads model.json and compares every file with its checksum.

        Raises:
            BadBundle: a file is missing or changed, or a field is.
        """
        path = Path(directory) / MODEL_JSON
        try:
            data = json.loads(path.read_text("utf-8"))
        except FileNotFoundError as error:
            raise BadBundle(f"{directory} holds no {MODEL_JSON}", hint="name a folder that holds a model") from error
        except (OSError, ValueError) as error:
            raise BadBundle(f"{path} cannot be read: {error}") from error
        bundle = cls._from_json(Path(directory), data)
        for file_name, expected in bundle.files.items():
            if _sha256_of(bundle.directory / file_name) != expected:
                raise BadBundle(
                    f"{bundle.directory / file_name} is missing or not what was saved", hint="publish the model again"
                )
        return bundle

    @classmethod
    def _from_json(cls, directory: Path, data: dict[str, Any]) -> "Bundle":
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise BadBundle(f"{directory / MODEL_JSON} has another format than {FORMAT}", hint="export the model again")
        names = [f.name for f in dataclasses.fields(cls) if f.name != "directory"]
        missing = [name for name in names if name not in data]
        if missing:
            raise BadBundle(f"{directory / MODEL_JSON} lacks {missing[0]}", hint="export the model again")
        values = {name: data[name] for name in names}
        values["preprocessing"] = Preprocessing.from_json(values["preprocessing"])
        unlisted = {WEIGHTS, GOLDEN_IMAGE, GOLDEN_VECTOR} - set(values["files"])
        if unlisted:
            raise BadBundle(f"{directory / MODEL_JSON} has no checksum of {sorted(unlisted)[0]}")
        return cls(directory=directory, **values)

    def golden(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The proof: pixels as saved and of the image decoded now, both uint8 [s, s, 3], and the vector [dim]."""
        tensors = load_file(self.directory / GOLDEN_VECTOR)
        image = images.decode((self.directory / GOLDEN_IMAGE).read_bytes(), min_side=self.preprocessing.min_side)
        return tensors["pixels"], self.preprocessing.apply(image), tensors["embedding"]

    def check_golden(self, embeddings: np.ndarray, precision: str) -> None:
        """Compares the vectors that a loaded model gives for the first two arrays of `golden()` with the third.

        Args:
            embeddings: float32 [2, dim], unit rows.
            precision: that they were computed in; a lower one may round more.

        Raises:
            BadBundle: they differ by more than rounding.
        """
        from_pixels, from_image = (float(row @ self.golden()[2]) for row in embeddings)
        if not (from_pixels >= TIGHT_COSINE[precision] and from_image >= LOOSE_COSINE):
            raise BadBundle(
                f"model {self.name} gives another vector for its golden image than when it was saved"
                f" (cosine {from_pixels:.4f} from pixels, {from_image:.4f} from the file)",
                hint="export the model again, or report this with the versions of torch, timm and OpenVINO",
            )


def save(
    model: "EmbeddingModel",
    directory: Path,
    *,
    name: str,
    metrics: Mapping[str, Any] | None = None,
    lineage: Mapping[str, Any] | None = None,
    threshold: float | None = None,
) -> Bundle:
    """Writes a bundle: into a folder beside, synced to disk, then renamed.

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
    import torch
    from safetensors.torch import save_file as save_torch

    directory = Path(directory)
    if directory.exists() and any(directory.iterdir()) and not (directory / MODEL_JSON).exists():
        raise BadBundle(f"{directory} exists and holds no model", hint="name a new folder")
    directory.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
        save_torch(state, beside / WEIGHTS)
        (beside / GOLDEN_IMAGE).write_bytes(_golden_jpeg())
        image = images.decode((beside / GOLDEN_IMAGE).read_bytes(), min_side=model.preprocessing.min_side)
        pixels = model.preprocessing.apply(image)
        with torch.inference_mode():
            embedding = model.reference(torch.from_numpy(pixels[None].copy()))[0].numpy()
        save_file({"pixels": pixels.copy(), "embedding": embedding}, beside / GOLDEN_VECTOR)
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
            "files": {file: _sha256_of(beside / file) for file in (WEIGHTS, GOLDEN_IMAGE, GOLDEN_VECTOR)},
        }
        (beside / MODEL_JSON).write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
        beside.chmod(0o755)
        for path in beside.iterdir():
            sync(path)
        if directory.exists():
            shutil.rmtree(directory)
        beside.rename(directory)
        sync(directory.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return Bundle.load(directory)


def _sha256_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _golden_jpeg() -> bytes:
    """An image with edges, colours, texture and smooth parts, the same for every model."""
    y, x = np.mgrid[0:320, 0:400].astype(np.float32)
    red = 128 + 100 * np.sin(x / 17) * np.cos(y / 23)
    green = 255 * (np.hypot(x - 150, y - 160) < 90) * 0.7 + x / 5
    blue = 128 + 90 * np.sin((x + 2 * y) / 9) * (y > 160) + y / 8
    noise = np.random.default_rng(0).normal(0, 6, (320, 400, 3))
    array = np.stack([red, green, blue], axis=-1) + noise
    return images.thumbnail(Image.fromarray(array.clip(0, 255).astype(np.uint8)), size_px=400)
