"""What is told about labelled images before a training."""

import time
from pathlib import Path

import numpy as np

from deploy.demo_photos import make
from ml import images
from ml.data import datasets, notes
from ml.data.datasets import Dataset
from tests.ml.conftest import write_image


def _folder(folder, counts):
    for number, (name, count) in enumerate(counts.items()):
        for image in range(count):
            write_image(folder / name / f"{image}.jpg", seed=100 * number + image)
    return folder


def test_a_class_of_identical_images_is_remarked_on(tmp_path):
    _folder(tmp_path, {"a": 3})
    for number in range(3):
        write_image(tmp_path / "same" / f"{number}.jpg", seed=999)
    data = datasets.load(tmp_path)
    datasets.check_trainable(data)
    assert any("one image many times, for example 'same'" in line for line in notes.remarks(data))


def test_the_same_files_in_two_sets_are_found(tmp_path):
    first = datasets.load(_folder(tmp_path / "one", {"a": 2, "b": 2}))
    write_image(tmp_path / "two" / "x" / "copy.jpg", seed=1)  # the bytes of one/a/1.jpg
    write_image(tmp_path / "two" / "x" / "new.jpg", seed=12345)
    second = datasets.load(tmp_path / "two")
    assert [(a.name, b.name) for a, b in notes.same_files(second, first)] == [("copy.jpg", "1.jpg")]


def test_near_duplicates_are_near_by_embedding_and_copies_by_their_pixels(tmp_path):
    vectors = np.eye(4, dtype=np.float32)
    paths = make(tmp_path / "photos", products=4, views=1)
    copy = tmp_path / "copy.jpg"
    images.decode(paths[2].read_bytes()).save(copy, quality=60)
    asked = vectors[[2, 1, 3]]
    asked_paths = [copy, copy, tmp_path / "gone.jpg"]
    assert notes.near_duplicates(asked, asked_paths, vectors, paths) == [(0, 2)]


def test_notes_on_a_data_set_as_large_as_sop_take_no_time():
    """60,000 images of 11,318 classes: a loop over classes that looks at every image would take minutes."""
    labels = np.sort(np.arange(60_000) % 11_318)
    contents = tuple(f"{number:064x}" for number in range(len(labels)))
    large = Dataset(
        "sop",
        tuple(Path(f"{number}.jpg") for number in range(len(labels))),
        labels,
        tuple(f"class {number}" for number in range(11_318)),
        contents,
    )
    began = time.process_time()
    assert notes.remarks(large) == []
    assert time.process_time() - began < 15


def test_of_many_labels_that_are_nearly_the_same_some_are_named_and_all_counted(tmp_path):
    rows = []
    for number in range(6):
        for label in (f"Class {number}", f"class {number}"):
            write_image(tmp_path / f"{label}.jpg", seed=len(rows))
            rows.append(f"{label}.jpg,{label}")
    (tmp_path / "table.csv").write_text("path,label\n" + "\n".join(rows))
    told = notes.remarks(datasets.load(tmp_path / "table.csv"))
    assert sum("are taken for two classes" in remark for remark in told) == 3
    assert "so are 3 other pairs of names that differ by space or case" in told
