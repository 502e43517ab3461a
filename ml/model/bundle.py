"""A model on disk: network, head, everything needed to use them, and a golden input/output pair that verifies them.

A bundle is a folder:

    model.json            name, backbone, head, dim, preprocessing, metrics, lineage, threshold, checksums of the others
    network.onnx          pixels, uint8 [n, s, s, 3], to features, float32 [n, feature_dim]: for workers on CPU
    backbone.safetensors  the weights of the same, under timm's names: for training and for GPUs
    head.safetensors      the linear maps behind the network, float32; may be none
    golden.jpg            an image
    golden.safetensors    `pixels`, that image preprocessed; `features` of it (and of its mirror image, where the model
                          looks at both), float32 [views, feature_dim]; and `embedding`, the vector, float32 [dim]

network.onnx is left out where a backbone cannot be written as ONNX; such a model needs torch. `ml.model.writer`
writes bundles. Nothing here imports torch.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from ml import images
from ml.errors import BadBundle
from ml.model.head import Head
from ml.preprocessing import Preprocessing

MODEL_JSON = "model.json"
NETWORK = "network.onnx"
WEIGHTS = "backbone.safetensors"
HEAD = "head.safetensors"
GOLDEN_IMAGE = "golden.jpg"
GOLDEN_VECTOR = "golden.safetensors"
FORMAT = 2

# The golden vector again, from the same pixels: only rounding may differ, and how much depends on the precision (bf16
# gives 0.998 and more). From the JPEG, another version of the decoder may differ by a grey level here and there.
TIGHT_COSINE = {"f32": 0.9999, "bf16": 0.995, "f16": 0.999}
LOOSE_COSINE = 0.99


class OldBundle(BadBundle):
    """A bundle of a format that has to be converted before it is used."""


@dataclass(frozen=True)
class Bundle:
    """A checked bundle. `sha256` names its content: network, head and preprocessing, not its metrics or lineage."""

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
            data = json.loads(path.read_text("utf-8"))
        except FileNotFoundError as error:
            raise BadBundle(f"{directory} holds no {MODEL_JSON}", hint="name a folder that holds a model") from error
        except (OSError, ValueError) as error:
            raise BadBundle(f"{path} cannot be read: {error}") from error
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
    def from_json(cls, directory: Path, data: dict[str, Any]) -> "Bundle":
        """What a model.json says, of this format or an older one; the files are not looked at.

        Raises:
            BadBundle: a field is missing, unknown or senseless.
        """
        if not isinstance(data, dict) or data.get("format") not in (1, FORMAT):
            raise BadBundle(f"{directory / MODEL_JSON} must have format {FORMAT}", hint="export the model again")
        names = [f.name for f in dataclasses.fields(cls) if f.name != "directory"]
        missing = [name for name in names if name not in data]
        if missing:
            raise BadBundle(f"{directory / MODEL_JSON} lacks {missing[0]}", hint="export the model again")
        values = {name: data[name] for name in names}
        values["preprocessing"] = Preprocessing.from_json(values["preprocessing"])
        needed = {WEIGHTS, HEAD, GOLDEN_IMAGE, GOLDEN_VECTOR} if values["format"] == FORMAT else set()
        unlisted = needed - set(values["files"])
        if unlisted:
            raise BadBundle(f"{directory / MODEL_JSON} has no checksum of {sorted(unlisted)[0]}")
        return cls(directory=directory, **values)

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
            head = Head.from_tensors(load_file(self.directory / HEAD), layer_norm=bool(self.head["layer_norm"]))
            dim = head(self.golden_features()[:, None]).shape[1]
        except (KeyError, ValueError) as error:
            raise BadBundle(f"the head of model {self.name} does not fit: {error}") from error
        if dim != self.dim:
            raise BadBundle(f"model {self.name} claims {self.dim} dimensions and has {dim}")
        return head

    def golden_features(self) -> np.ndarray:
        """What the network gave for the golden pixels, and for their mirror image, float32 [v, feature_dim]."""
        return load_file(self.directory / GOLDEN_VECTOR)["features"]

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


def sha256_of(path: Path) -> str:
    """Of a file's content, in hexadecimal; empty when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
