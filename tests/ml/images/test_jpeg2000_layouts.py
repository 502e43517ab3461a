"""JPEG 2000 of every depth and number of channels, as imagecodecs (OpenJPEG by another way) writes and reads it."""

import itertools
import time

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from ml import images
from ml.images import UnreadableImage

WIDTH, HEIGHT = 75, 50


def samples_of(channels: int, bits: int) -> np.ndarray:
    y, x = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    planes = [x, y, (x + y) / 2, 1 - x][:channels]
    return np.squeeze(np.round(np.dstack(planes) * (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16))


@pytest.mark.parametrize(
    ("channels", "bits", "boxed"), list(itertools.product((1, 2, 3, 4), (4, 8, 10, 12, 16), (True, False)))
)
def test_every_layout_is_read_rightly_or_refused_by_name(channels, bits, boxed):
    samples = samples_of(channels, bits)
    data = imagecodecs.jpeg2k_encode(
        samples, bitspersample=bits, codecformat="jp2" if boxed else "j2k", reversible=True, mct=False
    )
    np.testing.assert_array_equal(imagecodecs.jpeg2k_decode(data), samples)
    try:
        image = images.decode(data)
    except UnreadableImage as error:
        assert "which is not supported" in error.message
        return
    values = samples.reshape(HEIGHT, WIDTH, channels) / (2**bits - 1)
    if channels in (2, 4):
        values = values[..., :-1] * values[..., -1:] + 1 - values[..., -1:]
    assert np.abs(np.asarray(image) - 255 * values).mean() < 2


def test_a_large_one_is_decoded_at_the_level_that_serves():
    data = imagecodecs.jpeg2k_encode(np.asarray(Image.radial_gradient("L").resize((4096, 4096))), level=60)
    began = time.process_time()
    assert images.decode(data, min_side=320).size == (512, 512)
    reduced_s = time.process_time() - began
    began = time.process_time()
    assert images.decode(data).size == (4096, 4096)
    assert reduced_s < (time.process_time() - began) / 4  # 6 ms of 250
