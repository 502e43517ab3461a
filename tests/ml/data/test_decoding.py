"""Decoded images: through the one preprocessing, in memory or in a file, without the damaged ones."""

import os
import sys
from dataclasses import replace

import numpy as np
import pytest

from ml import images
from ml.data import datasets, decoding
from ml.data.datasets import BadDataset
from ml.model.backbone import default_preprocessing
from tests.file_systems import can_mount, run_within
from tests.ml.conftest import write_image
from tests.ml.decoders.images import slow

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


def test_a_photo_that_takes_too_long_is_left_out_as_it_is_of_indexing(data, tmp_path, monkeypatch):
    (tmp_path / "a" / "slow.qoi").write_bytes(slow(6))
    monkeypatch.setenv("LOOKALIKE_MAX_DECODE_SECONDS", "1")
    decoded = decoding.decode(datasets.load(tmp_path), SMALL)
    assert len(decoded.array) == len(data)
    assert decoded.dataset.left_out[-1].reason.startswith("takes more than 1 s of processor time")


def test_progress_counts_to_the_end(data):
    seen = []
    decoding.decode(data, SMALL, on_progress=lambda *step: seen.append(step))
    assert seen[-1] == ("decoding", 6, 6)


def test_nothing_to_decode_is_an_error(data):
    for path in data.paths:
        path.unlink()
    with pytest.raises(BadDataset, match="No such file"):
        decoding.decode(data, SMALL)


FULL = """
import sys
from dataclasses import replace
from ml.data import datasets, decoding
from ml.errors import LookalikeError
from tests.ml.data.test_decoding import SMALL

try:
    decoding.decode(datasets.load(sys.argv[1]), replace(SMALL, size_px=512, resize_px=512), memory_bytes=0)
except LookalikeError as error:
    print(error)
"""


@pytest.mark.skipif(not can_mount(), reason="file systems cannot be mounted here")
def test_a_full_temporary_folder_is_an_error_and_not_a_signal(data, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    ended = run_within(small, "size=1m", [sys.executable, "-c", FULL, data.paths[0].parents[1]], {"TMPDIR": str(small)})
    assert (ended.returncode, ended.stdout) == (
        0,
        f"the temporary folder {small} cannot hold 4 MB of decoded images: No space left on device\n"
        "hint: free space there, or set TMPDIR to a folder that has it\n",
    ), ended.stderr


@pytest.mark.parametrize("has_fallocate", [True, False], ids=["Linux", "macOS"])
def test_space_for_decoded_images_is_taken_before_they_are_decoded(tmp_path, monkeypatch, has_fallocate):
    if not has_fallocate:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    with (tmp_path / "file").open("w+b") as file:
        decoding._reserve(file.fileno(), 3_000_000)
        size = os.fstat(file.fileno())
    assert size.st_size == 3_000_000
    assert size.st_blocks * 512 >= 3_000_000
