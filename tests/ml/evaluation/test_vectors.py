"""Vectors in files: there and back, of other programs, and what is no such file."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from ml.errors import LookalikeError
from ml.evaluation.evaluate import evaluate, measure
from ml.evaluation.vectors import Vectors, embed_images


@pytest.fixture(scope="module")
def some() -> Vectors:
    rows = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Vectors(rows, ("a", "b", "é", "a", "b", "é"), tuple(f"{n}.jpg" for n in range(6)), ("f" * 64,) * 6, "mine")


@pytest.mark.parametrize("name", ["vectors.npz", "vectors.parquet"])
def test_a_file_gives_back_what_was_written(some, name, tmp_path):
    some.save(tmp_path / name)
    again = Vectors.read(tmp_path / name)
    np.testing.assert_allclose(again.vectors, some.vectors, rtol=1e-6)
    assert (again.labels, again.paths, again.sha256, again.model) == (some.labels, some.paths, some.sha256, some.model)
    assert again.numbers.tolist() == [0, 1, 2, 0, 1, 2]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_vectors_of_another_program_are_brought_to_unit_length(tmp_path):
    rows = np.array([[3.0, 4.0], [0.0, 2.0]])
    np.savez(tmp_path / "theirs.npz", vectors=rows, labels=np.array([7, 7]))
    columns = {"vector": pa.array(rows.tolist()), "label": pa.array([7, 7])}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "theirs.parquet")
    for name in ("theirs.npz", "theirs.parquet"):
        found = Vectors.read(tmp_path / name)
        np.testing.assert_allclose(found.vectors, [[0.6, 0.8], [0, 1]], rtol=1e-6)
        assert (found.labels, found.paths, found.model) == (("7", "7"), (), name)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": np.zeros(2)}, "lacks vectors"),
        ({"vectors": np.ones((2, 3))}, "lacks labels"),
        ({"vectors": np.ones((2, 3)), "labels": np.zeros(3)}, "has 2 vectors and 3 labels"),
        ({"vectors": np.zeros((2, 3)), "labels": np.zeros(2)}, "no row of zeros"),
        ({"vectors": np.full((2, 3), np.nan), "labels": np.zeros(2)}, "must be finite"),
        ({"vectors": np.array([{}, {}]), "labels": np.zeros(2)}, "cannot be read"),  # would be unpickled
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_a_line(arrays, message, tmp_path):
    np.savez(tmp_path / "vectors.npz", **arrays)
    with pytest.raises(LookalikeError, match=message):
        Vectors.read(tmp_path / "vectors.npz")


@pytest.mark.parametrize(
    ("name", "message"),
    [("vectors.csv", "must end in .npz or .parquet, got 'vectors.csv'"), ("none.npz", "there is no file")],
)
def test_another_name_or_no_file(name, message, tmp_path):
    with pytest.raises(LookalikeError, match=message):
        Vectors.read(tmp_path / name)


@pytest.mark.parametrize("name", ["broken.npz", "broken.parquet"])
def test_a_broken_file(name, tmp_path):
    (tmp_path / name).write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(LookalikeError, match="cannot be read"):
        Vectors.read(tmp_path / name)


def test_vectors_measure_as_the_model_does(products, default_bundle, compiled, tmp_path: Path):
    found = embed_images(default_bundle.directory, products, device="cpu", cache_dir=compiled)
    found.save(tmp_path / "vectors.npz")
    again = Vectors.read(tmp_path / "vectors.npz")
    by_model = evaluate(default_bundle.directory, products, device="cpu", cache_dir=compiled).metrics
    by_file = measure(again.vectors, again.numbers).metrics
    assert by_file.keys() == by_model.keys()
    assert by_file["map@r"] == pytest.approx(by_model["map@r"], abs=1e-6)
    assert again.sha256 == products.sha256
