"""Copies of real photos, made in every usual way: how many are found, in which tier, and what else is taken for one.

    python benchmarks/copies.py DATA [--photos 200] [--hashes]

DATA is a folder with one folder per class, whose photos are all different ones. For each kind, copies of some photos
are searched in all of them by vector, as `lookalike duplicates` does it, and laid over their twenty nearest. "Falsely
found" are photos that a copy was taken to be another one of. The last line compares the photos among themselves. With
`--hashes`, also what perceptual hashes find that take none of the different photos that were asked for for a copy (pip
install imagehash pdqhash).
"""

import argparse
import importlib
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from ml.data import datasets
from ml.images import decode, thumbnail
from ml.images.copies import Appearance, compare
from ml.images.likeness import NEAR_COPY, SAME_IMAGE, Likeness
from ml.model import embedder
from ml.model.default import provide

CANDIDATES = 20
Change = Callable[[Image.Image], Image.Image]


def saved(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def resized(image: Image.Image, scale: float) -> Image.Image:
    size = round(image.width * scale), round(image.height * scale)
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)


def cropped(image: Image.Image, share: float) -> Image.Image:
    """Without this share of each side, half of it at each end."""
    width, height = image.size
    left, top = round(width * share / 2), round(height * share / 2)
    return image.crop((left, top, width - left, height - top))


def bordered(image: Image.Image) -> Image.Image:
    return ImageOps.expand(image, round(max(image.size) * 0.06), "white")


def written_over(image: Image.Image) -> Image.Image:
    image, size = image.copy(), image.height / 8
    middle = image.width / 2, image.height / 2
    draw = ImageDraw.Draw(image)
    draw.text(middle, "SAMPLE TEXT", "white", anchor="mm", font_size=size, stroke_width=2, stroke_fill="black")
    return image


def tilted(image: Image.Image) -> Image.Image:
    """By 5 degrees, the corners cut off."""
    return cropped(image.rotate(5, Image.Resampling.BICUBIC), 0.16)


def screenshot(image: Image.Image) -> Image.Image:
    width, height = image.size
    screen = Image.new("RGB", (round(width * 1.3), round(height * 1.6)), (245, 245, 245))
    ImageDraw.Draw(screen).rectangle((0, 0, screen.width, height // 8), fill=(40, 40, 48))
    screen.paste(resized(image, 1.1), (round(width * 0.1), round(height * 0.22)))
    return screen


KINDS: dict[str, tuple[str, Change]] = {
    "JPEG, quality 60": (SAME_IMAGE, lambda image: saved(image, 60)),
    "JPEG, quality 30": (SAME_IMAGE, lambda image: saved(image, 30)),
    "half the size": (SAME_IMAGE, lambda image: resized(image, 0.5)),
    "twice the size": (SAME_IMAGE, lambda image: resized(image, 2)),
    "3 % cropped": (NEAR_COPY, lambda image: cropped(image, 0.03)),
    "10 % cropped": (NEAR_COPY, lambda image: cropped(image, 0.10)),
    "25 % cropped": (NEAR_COPY, lambda image: cropped(image, 0.25)),
    "border": (NEAR_COPY, bordered),
    "text over it": (NEAR_COPY, written_over),
    "mirror image": (NEAR_COPY, ImageOps.mirror),
    "turned by 90°": (NEAR_COPY, lambda image: image.transpose(Image.Transpose.ROTATE_90)),
    "tilted by 5°": (NEAR_COPY, tilted),
    "grey": (NEAR_COPY, lambda image: ImageOps.grayscale(image).convert("RGB")),
    "a quarter brighter": (NEAR_COPY, lambda image: image.point(lambda value: min(255, round(value * 1.25)))),
    "in a screenshot": (NEAR_COPY, screenshot),
}


def kept(image: Image.Image) -> Image.Image:
    """As a gallery keeps it."""
    return Image.open(io.BytesIO(thumbnail(image))).convert("RGB")


def embedded(model: embedder.Embedder, images: list[Image.Image]) -> np.ndarray:
    return np.concatenate([model.embed(images[start : start + 32]) for start in range(0, len(images), 32)])


def row(kind: str, expected: str, found: list[Likeness | None], false: dict[str, int], compared: int) -> str:
    tiers = [each.tier for each in found if each is not None]
    same, near = (tiers.count(tier) / len(found) for tier in (SAME_IMAGE, NEAR_COPY))
    wrong = f"{false[SAME_IMAGE]} + {false[NEAR_COPY]}"
    return f"| {kind} | {expected} | {100 * same:.1f} | {100 * near:.1f} | {wrong} of {compared} |"


def hash_found(name: str, hashed: Callable[[Image.Image], np.ndarray], photos: dict[str, list[Image.Image]]) -> str:
    """A row for a hash: shares found, nearer than any different photo in any of eight turns."""
    turns = [None, *Image.Transpose]

    def bits(image: Image.Image, turn: Image.Transpose | None = None) -> np.ndarray:
        return hashed(image if turn is None else image.transpose(turn)).ravel()

    originals = [np.stack([bits(image, turn) for turn in turns]) for image in photos["originals"]]
    upright = np.stack([each[0] for each in originals])
    different = [
        (np.delete(upright, n, 0)[:, None] != each).mean(2).min() for n, each in enumerate(originals)
    ]  # of the photos asked for alone: flattering the hash
    limit = min(different)
    shares = []
    for kind in KINDS:
        copies = [bits(image) for image in photos[kind]]
        near = [(each != copy).mean(1).min() < limit for each, copy in zip(originals, copies, strict=True)]
        shares.append(f"{kind} {100 * float(np.mean(near)):.0f}")
    return f"{name}: " + ", ".join(shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--hashes", action="store_true")
    arguments = parser.parse_args()
    images = [decode(path.read_bytes()) for path in datasets.load(arguments.data).paths]
    chosen = np.sort(np.random.default_rng(0).permutation(len(images))[: arguments.photos])
    small = [kept(image) for image in images]
    began = time.process_time()
    looks = [Appearance(image) for image in small]
    print(f"{1000 * (time.process_time() - began) / len(looks):.1f} ms of a core for each photo")
    with tempfile.TemporaryDirectory() as home:
        model = embedder.load(provide(Path(home) / "work", Path(home) / "cache"), cache_dir=Path(home) / "cache")
        vectors = embedded(model, images)
        print(
            "| copy | tier | found as same image | as near-copy | falsely found: same + near |\n|---|---|---|---|---|"
        )
        made = {"originals": [small[position] for position in chosen]}
        for kind, (expected, change) in KINDS.items():
            copies = [saved(change(images[position]), 85) for position in chosen]
            near = np.argsort(-embedded(model, copies) @ vectors.T, axis=1)[:, :CANDIDATES]
            made[kind] = [kept(copy) for copy in copies]
            found: list[Likeness | None] = []
            false = {SAME_IMAGE: 0, NEAR_COPY: 0}
            for position, look, candidates in zip(chosen, map(Appearance, made[kind]), near, strict=True):
                likeness = {other: compare(looks[other], look) for other in candidates}
                found.append(likeness.pop(position, None))
                for other in likeness.values():
                    if other is not None:
                        false[other.tier] += 1
            compared = int((near != chosen[:, None]).sum())
            print(row(kind, expected, found, false, compared), flush=True)
    close = vectors @ vectors.T
    np.fill_diagonal(close, -1)
    pairs = {tuple(sorted((n, int(m)))) for n, row in enumerate(close) for m in np.argsort(-row)[:CANDIDATES]}
    began = time.process_time()
    tiers = [each.tier for n, m in pairs if (each := compare(looks[n], looks[m])) is not None]
    counts = f"{tiers.count(SAME_IMAGE)} + {tiers.count(NEAR_COPY)} of {len(pairs)}"
    print(f"| the photos among themselves | | | | {counts} |", flush=True)
    print(f"{1000 * (time.process_time() - began) / len(pairs):.2f} ms of a core for each pair of these", flush=True)
    if arguments.hashes:
        imagehash, pdqhash = importlib.import_module("imagehash"), importlib.import_module("pdqhash")
        print(hash_found("phash, 256 bits", lambda image: imagehash.phash(image, hash_size=16).hash, made))
        print(hash_found("dhash, 256 bits", lambda image: imagehash.dhash(image, hash_size=16).hash, made))
        print(hash_found("PDQ", lambda image: pdqhash.compute(np.asarray(image))[0].astype(bool), made))


if __name__ == "__main__":
    main()
