"""How sharp a picture is: what tells a crisp photo from a blurred copy of it."""

import io

import numpy as np
from PIL import Image


def sharpness(data: bytes) -> float:
    """Standard deviation of the Laplacian of a JPEG's luminance, on a scale where photos reach about 10 to 60.

    To be compared between pictures of about the same size, such as thumbnails.

    Raises:
        OSError: the bytes are no JPEG.
    """
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        light = np.asarray(image.convert("L"), np.float32)
    if min(light.shape) < 3:
        return 0.0
    inner = light[1:-1, 1:-1]
    around = light[:-2, 1:-1] + light[2:, 1:-1] + light[1:-1, :-2] + light[1:-1, 2:]
    return float(np.std(around - 4 * inner))
