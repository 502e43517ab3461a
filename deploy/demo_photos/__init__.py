"""Photos of made-up products, drawn from a seed: something to search and learn from before there are real ones.

`lookalike demo`, the tests and the notebooks use them. The same arguments give the same bytes; nothing is downloaded.
Families (mugs, bottles, shoes, ...) have four products each that differ only in colours, pattern and emblem, so that
telling families apart is easy and telling products apart leaves something to learn.

`products` knows what there is to draw, `bodies` how a shape looks in a pose, `patterns` what is printed on it, and
`scenes` where it stands, in which light and behind what.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from deploy.demo_photos.bodies import Pose
from deploy.demo_photos.products import CATALOGUE, Product
from deploy.demo_photos.scenes import Scenery
from ml import cores

__all__ = ["make"]


def make(directory: Path, *, products: int = 48, views: int = 12, seed: int = 0, size_px: int = 256) -> list[Path]:
    """Draws `views` square photos of each of `products` made-up products into `directory`.

    A photo depends on the seed, the size, its product and its number alone: a smaller set is part of a larger one.

    Args:
        directory: created when missing; files of the same names are replaced.
        products: 1..48; the first 12 are of 12 families.
        views: photos of each product.
        seed: another seed gives other photos of the same products.
        size_px: width and height.

    Returns:
        The photos, `<directory>/<class>/<class>_01.jpg` and so on, product by product.

    Raises:
        ValueError: a number is out of range.
    """
    if not 1 <= products <= len(CATALOGUE):
        raise ValueError(f"products must be in 1..{len(CATALOGUE)}, not {products}")
    if views < 1 or size_px < 16 or seed < 0:
        raise ValueError("views must be at least 1, size_px at least 16 and seed at least 0")
    scenery = Scenery(seed, size_px)

    def draw(number: int) -> list[Path]:
        return _photograph(CATALOGUE[number], number, scenery, directory, views=views, seed=seed)

    # Threads are enough: NumPy and Pillow let go of the interpreter while they draw.
    with ThreadPoolExecutor(min(4, cores.available())) as pool:
        return [path for paths in pool.map(draw, range(products)) for path in paths]


def _photograph(
    product: Product, number: int, scenery: Scenery, directory: Path, *, views: int, seed: int
) -> list[Path]:
    folder = directory / product.name
    folder.mkdir(parents=True, exist_ok=True)
    draw = product.drawing(scenery.size_px * 5 // 4)
    paths = []
    for view in range(1, views + 1):
        rng = np.random.default_rng([seed, number, view])
        photo = scenery.photograph(draw(Pose.sample(rng)), rng, lies_flat=product.may_lie_flat)
        paths.append(folder / f"{product.name}_{view:02d}.jpg")
        photo.save(paths[-1], quality=88)
    return paths
