"""A model on disk: weights, everything needed to use them, and a golden input/output pair that verifies them.

A bundle is a folder:

    model.json            name, backbone, head, dim, preprocessing, metrics, lineage, threshold, checksums of the others
    model.safetensors     the weights
    golden.jpg            an image
    golden.safetensors    `pixels`, that image preprocessed, and `embedding`, the vector that the model gave for it

`ml.model.save` writes it. Nothing here imports torch, so that a worker with a compiled model starts fast.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file

from ml import images
from ml.errors import BadBundle
from ml.preprocessing import Preprocessing

if TYPE_CHECKING:
    pass

MODEL_JSON = "model.json"
WEIGHTS = "model.safetensors"
GOLDEN_IMAGE = "golden.jpg"
GOLDEN_VECTOR = "golden.safetensors"
FORMAT = 1

# The golden vector again, from the same pixels: only rounding may differ, and how much depends on the precision (bf16
# gives 0.998 and more). From the JPEG, another version of the decoder may differ by a grey level here and there.
TIGHT_COSINE = {"f32": 0.9999, "bf16": 0.995, "f16": 0.999}
LOOSE_COSINE = 0.99


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
            if sha256_of(bundle.directory / file_name) != expected:
                raise BadBundle(
                    f"{bundle.directory / file_name} is missing or not what was saved", hint="publish the model again"
                )
        return bundle

    @classmethod
    def _from_json(cls, directory: Path, data: dict[str, Any]) -> "Bundle":
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise BadBundle(f"{directory / MODEL_JSON} must have format {FORMAT}", hint="export the model again")
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


def sha256_of(path: Path) -> str:
    """Of a file's content, in hexadecimal; empty when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
