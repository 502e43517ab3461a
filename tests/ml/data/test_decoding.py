"""Decoded images: through the one preprocessing, in memory or in a file, without the damaged ones."""

from dataclasses import replace

import numpy as np
import pytest

from ml import images
from ml.data import datasets, decoding
from ml.data.datasets import BadDataset
from ml.model.backbone import default_preprocessing
from tests.ml.conftest import write_image

SMALL = replace(default_preprocessing("tf_efficientnet_lite0"), size_px=32, resize_px=36)


@pytest.fixture
def data(tmp_path):
    for number in range(6):
        write_image(tmp_path / "ab"[number % 2] / f"{number}.jpg", seed=number, size=(90, 60))
    return datasets.load(tmp_path)


@pytest.mark.parametrize(("memory", "where"), [(None, "of memory"), (0, "in a file")])
def test_images_are_what_preprocessing_makes_of_them(data, memory, where):
    decoded = decoding.decode(data, SMALL, memory_bytes=memory)
    assert where in decoded.where
    for path, row in zip(data.paths, decoded.array, strict=True):
        image = images.decode(path.read_bytes(), min_side=SMALL.min_side)
        assert np.array_equal(row, SMALL.apply(image))


def test_files_with_damaged_pixels_are_left_out(data):
    whole = data.paths[2].read_bytes()
    data.paths[2].write_bytes(whole[: len(whole) // 3])
    decoded = decoding.decode(data, SMALL)
    assert len(decoded.dataset) == len(decoded.array) == 5
    assert decoded.dataset.left_out[-1].path == data.paths[2]
    assert data.paths[2] not in decoded.dataset.paths


def test_progress_counts_to_the_end(data):
    seen = []
    decoding.decode(data, SMALL, on_progress=lambda *step: seen.append(step))
    assert seen[-1] == ("decoding", 6, 6)


def test_nothing_to_decode_is_an_error(data):
    for path in data.paths:
        path.unlink()
    with pytest.raises(BadDataset, match="No such file"):
        decoding.decode(data, SMALL)
