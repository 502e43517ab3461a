"""Vectors of labelled images: computed by a model, kept in a file, and measured wherever they come from.

.npz      arrays `vectors` float32 [n, d], `labels`, `paths` and `sha256` as text [n], `model` as one text
.parquet  a row per image: `vector` (list of float32), `label`, `path`, `sha256`; `model` in the file's metadata

Files of other programs need `vectors` (or `vector`) and `labels` (or `label`) alone. Nothing is unpickled.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ml import files
from ml.data import decoding
from ml.data.datasets import Dataset, Progress
from ml.errors import LookalikeError
from ml.evaluation.evaluate import Evaluation, embed
from ml.model import embedder

SUFFIXES = (".npz", ".parquet")
_COLUMNS = ("labels", "paths", "sha256")


@dataclass(frozen=True, eq=False)
class Vectors:
    """Rows of unit length and what they are of.

    Args:
        vectors: float32 [n, d].
        labels: a class's name for each row.
        paths: of the images; empty where a file does not say.
        sha256: of their contents; empty where a file does not say.
        model: that gave them.
    """

    vectors: np.ndarray
    labels: tuple[str, ...]
    paths: tuple[str, ...] = ()
    sha256: tuple[str, ...] = ()
    model: str = ""

    @property
    def numbers(self) -> np.ndarray:
        """Labels as numbers, int64 [n]."""
        return np.unique(np.array(self.labels), return_inverse=True)[1].astype(np.int64)

    def save(self, file: Path) -> None:
        """Writes a file, or replaces it.

        Raises:
            LookalikeError: its name ends in neither .npz nor .parquet, or it cannot be written.
        """
        _check_suffix(file)
        try:
            with files.draft(file) as draft:
                if file.suffix == ".npz":
                    labels, paths, sha256 = (np.array(getattr(self, name), np.str_) for name in _COLUMNS)
                    with draft.open("wb") as out:
                        np.savez(
                            out,
                            vectors=self.vectors,
                            labels=labels,
                            paths=paths,
                            sha256=sha256,
                            model=np.array(self.model),
                        )
                else:
                    _write_parquet(self, draft)
        except OSError as error:
            raise LookalikeError(f"{file} cannot be written: {error.strerror or error}") from error

    @classmethod
    def read(cls, file: Path) -> "Vectors":
        """Reads a file, of this or another program. Rows are brought to unit length.

        Raises:
            LookalikeError: there is no such file, or it holds no vectors with labels.
        """
        _check_suffix(file)
        try:
            columns = _read_npz(file) if file.suffix == ".npz" else _read_parquet(file)
        except FileNotFoundError as error:
            raise LookalikeError(f"there is no file {file}") from error
        except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
            raise LookalikeError(
                f"{file} cannot be read: {error}", hint="vectors come from: lookalike embed"
            ) from error
        return _checked(columns, file)


def embed_images(
    model: Path,
    dataset: Dataset,
    *,
    device: str = "auto",
    cache_dir: Path | None = None,
    on_progress: Progress | None = None,
) -> Vectors:
    """The vectors that a model gives labelled images.

    Args:
        model: folder of a bundle.
        dataset: the images.
        device: auto, cuda or cpu.
        cache_dir: of compiled models.
        on_progress: told how far it is.

    Raises:
        BadBundle: the model is damaged.
        BadDataset: no image can be read.
    """
    loaded = embedder.load(model, device=device, cache_dir=cache_dir)
    decoded = decoding.decode(dataset, loaded.preprocessing, on_progress=on_progress)
    return _of(decoded.dataset, embed(loaded, decoded.array, on_progress).numpy(), loaded.name)


def vectors_of(evaluation: Evaluation) -> Vectors:
    """The vectors that an evaluation measured."""
    return _of(evaluation.dataset, evaluation.embeddings.numpy(), evaluation.bundle.name)


def _of(dataset: Dataset, vectors: np.ndarray, model: str) -> Vectors:
    labels = tuple(dataset.classes[label] for label in dataset.labels)
    return Vectors(vectors, labels, tuple(str(path) for path in dataset.paths), dataset.sha256, model)


def _check_suffix(file: Path) -> None:
    if file.suffix not in SUFFIXES:
        raise LookalikeError(f"a file of vectors must end in {' or '.join(SUFFIXES)}, got {file.name!r}")


def _checked(columns: dict[str, np.ndarray], file: Path) -> Vectors:
    if missing := [name for name in ("vectors", "labels") if name not in columns]:
        raise LookalikeError(f"{file} lacks {missing[0]}", hint="needed are vectors and labels")
    vectors = np.asarray(columns["vectors"], np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True) if vectors.ndim == 2 else np.zeros(1)
    if vectors.ndim != 2 or not np.isfinite(vectors).all() or not lengths.all():
        raise LookalikeError(f"the vectors of {file} must be finite numbers [n, d] and no row of zeros")
    texts = {name: tuple(str(text) for text in columns[name].reshape(-1)) for name in _COLUMNS if name in columns}
    for name, column in texts.items():
        if len(column) != len(vectors):
            raise LookalikeError(f"{file} has {len(vectors)} vectors and {len(column)} {name}")
    model = str(columns["model"]) if "model" in columns else file.name
    return Vectors(vectors / lengths, **texts, model=model)


def _read_npz(file: Path) -> dict[str, np.ndarray]:
    with np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files if name in ("vectors", "model", *_COLUMNS)}


def _write_parquet(vectors: Vectors, file: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    rows = pa.FixedSizeListArray.from_arrays(vectors.vectors.astype(np.float32).reshape(-1), vectors.vectors.shape[1])
    columns = {"path": vectors.paths, "label": vectors.labels, "sha256": vectors.sha256}
    table = pa.table({name: pa.array(column, pa.string()) for name, column in columns.items()} | {"vector": rows})
    pyarrow.parquet.write_table(table.replace_schema_metadata({"model": vectors.model}), file)


def _read_parquet(file: Path) -> dict[str, np.ndarray]:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(file)
    columns = {}
    for theirs, ours in (("label", "labels"), ("path", "paths"), ("sha256", "sha256")):
        if name := next((name for name in (theirs, ours) if name in table.column_names), None):
            columns[ours] = np.array(table[name].to_pylist(), dtype=np.str_)
    if name := next((name for name in ("vector", "vectors") if name in table.column_names), None):
        columns["vectors"] = np.array(table[name].to_pylist(), np.float32)
    metadata = table.schema.metadata or {}
    return columns | ({"model": np.array(metadata[b"model"].decode())} if b"model" in metadata else {})
