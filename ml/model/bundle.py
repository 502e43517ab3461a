"""A model on disk: network, head, everything needed to use them, and a golden input/output pair that verifies them.

A bundle is a folder:

    model.json            name, backbone, head, dim, preprocessing, metrics, lineage, threshold, checksums of the others
    network.onnx          pixels, uint8 [n, s, s, 3], to features, float32 [n, feature_dim]: for workers on CPU
    backbone.safetensors  the weights of the same, under timm's names: for training and for GPUs
    head.safetensors      the linear maps behind the network, float32; may be none
    golden.jpg            an image
    golden.safetensors    `pixels`, that image preprocessed; `features` of it (and of its mirror image, where the model
                          looks at both), float32 [views, feature_dim]; and `embedding`, the vector, float32 [dim]
    as_new.safetensors    of a head that was fitted to a gallery: what its photos would find if they were new
                          (ml.tuning.left_out); older models have none

network.onnx is left out where a backbone cannot be written as ONNX; such a model needs torch. `ml.model.writer`
writes bundles. Nothing here imports torch.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from ml import files, images, records, tensors
from ml.errors import BadBundle
from ml.model.head import Head
from ml.names import MODEL_JSON, ModelName
from ml.preprocessing import Preprocessing
from ml.records import Moment, Sha256
from ml.tensors import Expected

NETWORK = "network.onnx"
WEIGHTS = "backbone.safetensors"
HEAD = "head.safetensors"
GOLDEN_IMAGE = "golden.jpg"
GOLDEN_VECTOR = "golden.safetensors"
AS_NEW = "as_new.safetensors"
FORMAT = 2

_OLD_WEIGHTS = "model.safetensors"  # of format 1
_NEEDED = {1: {_OLD_WEIGHTS, GOLDEN_IMAGE, GOLDEN_VECTOR}, FORMAT: {WEIGHTS, HEAD, GOLDEN_IMAGE, GOLDEN_VECTOR}}
_AGAIN = "export the model again"

# The golden vector again, from the same pixels: only rounding may differ, and how much depends on the precision (bf16
# gives 0.998 and more). From the JPEG, another version of the decoder may differ by a grey level here and there.
TIGHT_COSINE = {"f32": 0.9999, "bf16": 0.995, "f16": 0.999}
LOOSE_COSINE = 0.99


class OldBundle(BadBundle):
    """A bundle of a format that has to be converted before it is used."""


@dataclass(frozen=True)
class _Facts:
    """What model.json holds."""

    format: int
    name: ModelName
    backbone: Annotated[str, Meta(min_length=1, max_length=500)]
    dim: Annotated[int, Meta(ge=1, le=65_536)]
    head: dict[str, bool]
    preprocessing: dict[str, Any]
    metrics: dict[str, float | dict[str, list[float]] | None]  # intervals of figures are of two numbers
    lineage: dict[str, Any]
    threshold: Annotated[float, Meta(ge=-1, le=1)] | None
    files: dict[str, Sha256]


@dataclass(frozen=True)
class _Test:
    """The images that a model was measured on."""

    name: str
    fingerprint: str


@dataclass(frozen=True)
class _Lineage:
    """What of a lineage is read, by lists of models and reports."""

    registered_at: Moment = 0.0
    held_out_classes: list[str] | None = None
    data: dict[str, Any] | str | None = None
    test: _Test | None = None
    holdout: dict[str, Any] | None = None
    config: dict[str, Any] | None = None
    history: list[dict[str, float | None]] | None = None


@dataclass(frozen=True)
class Bundle:
    """A checked bundle. `sha256` names its content: network, head and preprocessing, not its metrics or lineage."""

    directory: Path
    name: ModelName
    backbone: str
    dim: int
    head: dict[str, Any]
    preprocessing: Preprocessing
    metrics: dict[str, Any]
    lineage: dict[str, Any]
    threshold: float | None
    files: dict[str, str]
    format: int = FORMAT

    @property
    def sha256(self) -> str:
        facts: dict[str, Any] = {"files": self.files, "head": self.head, "preprocessing": self.preprocessing.to_json()}
        facts |= {"backbone": self.backbone, "dim": self.dim, "format": self.format}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    @property
    def network(self) -> Path | None:
        """The network as ONNX; None where the bundle has none."""
        return self.directory / NETWORK if NETWORK in self.files else None

    @classmethod
    def load(cls, directory: Path) -> "Bundle":
        """Reads model.json and compares every file with its checksum.

        Raises:
            BadBundle: a file is missing or changed, or a field is.
            OldBundle: it is of an older format; `ml.model.upgrade.load_bundle` converts it.
        """
        path = Path(directory) / MODEL_JSON
        try:
            data = records.loads(files.read_regular(path, follow=False))
        except FileNotFoundError as error:
            raise BadBundle(f"{directory} holds no {MODEL_JSON}", hint="name a folder that holds a model") from error
        except (OSError, ValueError) as error:
            raise BadBundle(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
        bundle = cls.from_json(Path(directory), data)
        if bundle.format < FORMAT:
            raise OldBundle(
                f"{directory} holds a model of an older Lookalike", hint=f"run: python -m ml.model.upgrade {directory}"
            )
        for file_name, expected in bundle.files.items():
            if sha256_of(bundle.directory / file_name) != expected:
                raise BadBundle(
                    f"{bundle.directory / file_name} is missing or not what was saved", hint="publish the model again"
                )
        return bundle

    @classmethod
    def from_json(cls, directory: Path, data: Any) -> "Bundle":
        """What a model.json says, of this format or an older one; the files are not looked at.

        Raises:
            BadBundle: a field is missing, unknown or senseless.
        """
        path = directory / MODEL_JSON
        if not isinstance(data, dict) or data.get("format") not in list(_NEEDED):
            raise BadBundle(f"{path} must have format {FORMAT}", hint=_AGAIN)
        try:
            facts = records.typed(_Facts, data)
            records.typed(_Lineage, facts.lineage)
        except ValueError as error:
            raise BadBundle(f"{path}: {error}", hint=_AGAIN) from None
        needed = _NEEDED[facts.format]
        # A file's name becomes part of a path: these there are, and no others.
        if wrong := (set(facts.files) ^ needed) - {NETWORK, AS_NEW}:
            what = "a checksum of another file" if wrong - needed else "no checksum of"
            raise BadBundle(f"{path} has {what}: {min(wrong)!a}", hint=_AGAIN)
        return cls(
            directory=directory,
            name=facts.name,
            backbone=facts.backbone,
            dim=facts.dim,
            head=dict(facts.head),
            preprocessing=Preprocessing.from_json(facts.preprocessing),
            metrics=data["metrics"],
            lineage=facts.lineage,
            threshold=facts.threshold,
            files=dict(facts.files),
            format=facts.format,
        )

    def has_network_of(self, other: "Bundle") -> bool:
        """Whether both compute the same features from the same pixels, so that only their heads may differ."""
        network = NETWORK if NETWORK in self.files else WEIGHTS
        same = self.files.get(network) is not None and self.files.get(network) == other.files.get(network)
        return same and (self.backbone, self.preprocessing) == (other.backbone, other.preprocessing)

    def load_head(self) -> Head:
        """What follows the network.

        Raises:
            BadBundle: the tensors are not those of a head, or do not give vectors of `dim`.
        """
        try:
            head = Head.from_tensors(self.tensors(HEAD), layer_norm=self.head["layer_norm"])
            dim = head(self.golden_features()[:, None]).shape[1]
        except (KeyError, ValueError) as error:
            raise BadBundle(f"the head of model {self.name} does not fit: {error}") from error
        if dim != self.dim:
            raise BadBundle(f"model {self.name} claims {self.dim} dimensions and has {dim}")
        return head

    def golden_features(self) -> np.ndarray:
        """What the network gave for the golden pixels, and for their mirror image, float32 [v, feature_dim].

        Raises:
            BadBundle: they are missing, or are something else.
        """
        views = 2 if self.preprocessing.mirror else 1
        return self.tensors(GOLDEN_VECTOR, {"features": Expected("float32", (views, None))})["features"]

    def golden(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The proof: pixels as saved and of the image decoded now, both uint8 [s, s, 3], and the vector [dim].

        Raises:
            BadBundle: one is missing, or is something else.
        """
        side = self.preprocessing.size_px
        expected = {"pixels": Expected("uint8", (side, side, 3)), "embedding": Expected("float32", (self.dim,))}
        saved = self.tensors(GOLDEN_VECTOR, expected)
        try:
            data = files.read_regular(self.directory / GOLDEN_IMAGE, follow=False)
            image = images.decode(data, min_side=self.preprocessing.min_side)
        except (OSError, images.UnreadableImage) as error:
            raise BadBundle(f"the golden image of model {self.name} cannot be read: {error}", hint=_AGAIN) from error
        return saved["pixels"], self.preprocessing.apply(image), saved["embedding"]

    def tensors(self, file_name: str, expected: Mapping[str, Expected] | None = None) -> dict[str, np.ndarray]:
        """What one of the files holds, as `ml.tensors.loads` reads it. Raises BadBundle."""
        path = self.directory / file_name
        try:
            return tensors.loads(files.read_regular(path, follow=False), expected)
        except (OSError, ValueError) as error:
            raise BadBundle(f"{path}: {getattr(error, 'strerror', None) or error}", hint=_AGAIN) from error

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


def sha256_of(path: Path) -> str:
    """Of a file's content, in hexadecimal; empty when it cannot be read."""
    try:
        with files.open_regular(path, follow=False) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
