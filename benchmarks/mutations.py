"""What decoding makes of damaged images: no crash, no image beyond its deadline or memory, each decoded or refused.

    python benchmarks/mutations.py                       1,000 mutations
    python benchmarks/mutations.py --mutations 30000     some minutes
    python benchmarks/mutations.py --only PNG --seed 7

Takes a small image of each format and layout, changes bytes, numbers, order and length of the file at random, and has
every mutation decoded in the children of `ml.decoders`, as indexing and searches do. Mutations come from the seed
alone. Prints one JSON object; exits with 1, and keeps the file in --keep, when one has broken a promise.
"""

import argparse
import contextlib
import hashlib
import importlib
import io
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from ml import images
from ml.decoders import Decoders, Unfinished, Work
from ml.images import Limits, UnreadableImage
from ml.preprocessing import Preprocessing

WORK = Preprocessing(64, 72, "crop", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), mirror=False)
MEGAPIXELS, DEADLINE_S, MEMORY_MB = 20, 2.0, 512
# What a refusal may say; anything else is a message nobody wrote for people.
REASONS = re.compile(
    r"is (empty|damaged|truncated|no image that we read|a |an |\d)|has no pixels|needs more memory|takes more than"
)
CRASHED = "made to make decoders fail"


def seeds() -> dict[str, bytes]:
    """A small image of each format, and of each layout with a path of its own."""
    y, x = np.mgrid[0 : 1 : 48 * 1j, 0 : 1 : 64 * 1j]
    rgb = Image.fromarray(np.round(255 * np.dstack([x, y, 1 - x * y])).astype(np.uint8))
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_jxl")  # registers itself
    exif = Image.Exif()
    exif[0x0112] = 6
    options: dict[str, tuple[str, str, dict[str, Any]]] = {
        "JPEG": ("JPEG", "RGB", {"quality": 85, "exif": exif}),
        "JPEG progressive": ("JPEG", "RGB", {"progressive": True, "restart_marker_rows": 1}),
        "JPEG CMYK": ("JPEG", "CMYK", {}),
        "PNG": ("PNG", "RGB", {"exif": exif}),
        "PNG palette": ("PNG", "P", {"transparency": 3}),
        "PNG gray16": ("PNG", "I;16", {}),
        "PNG RGBA": ("PNG", "RGBA", {}),
        "WebP": ("WEBP", "RGB", {"quality": 80}),
        "WebP lossless": ("WEBP", "RGBA", {"lossless": True}),
        "GIF": ("GIF", "P", {}),
        "BMP": ("BMP", "RGB", {}),
        "BMP RGBA": ("BMP", "RGBA", {}),
        "DIB": ("DIB", "P", {}),
        "TIFF": ("TIFF", "RGB", {}),
        "TIFF LZW": ("TIFF", "RGB", {"compression": "tiff_lzw"}),
        "TIFF Deflate": ("TIFF", "RGBA", {"compression": "tiff_adobe_deflate"}),
        "TIFF JPEG": ("TIFF", "RGB", {"compression": "jpeg"}),
        "TIFF G4": ("TIFF", "1", {"compression": "group4"}),
        "TIFF float": ("TIFF", "F", {}),
        "HEIF": ("HEIF", "RGB", {}),
        "AVIF": ("AVIF", "RGB", {"speed": 10}),
        "JPEG2000": ("JPEG2000", "RGB", {}),
        "PPM": ("PPM", "RGB", {}),
        "PGM": ("PPM", "I;16", {}),
        "QOI": ("QOI", "RGB", {}),
        "JXL": ("JXL", "RGB", {}),
    }
    found: dict[str, bytes] = {}
    for name, (format, mode, extra) in options.items():
        buffer = io.BytesIO()
        image = rgb.convert("L").convert(mode) if mode in ("I;16", "F") else rgb.convert(mode)
        try:
            image.save(buffer, format, **extra)
        except KeyError:  # no plugin here
            continue
        found[name] = buffer.getvalue()
    found["RAW"] = _dng(np.asarray(rgb.convert("L")))
    return found


def _dng(gray: np.ndarray) -> bytes:
    """A mosaic without compression, and tags of DNG."""
    import struct

    height, width = gray.shape
    pixels = (gray.astype(np.uint16) << 8).tobytes()
    tags = [(254, 4, 1, 0), (256, 3, 1, width), (257, 3, 1, height), (258, 3, 1, 16), (259, 3, 1, 1)]
    tags += [(262, 3, 1, 32803), (273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, height), (279, 4, 1, len(pixels))]
    tags += [(33421, 3, 2, 2 | 2 << 16), (33422, 1, 4, 0x02010100), (50706, 1, 4, 0x00000401)]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    return struct.pack("<2sHI", b"II", 42, 8 + len(pixels)) + pixels + directory


def mutated(data: bytes, dice: random.Random, others: list[bytes]) -> bytes:
    """One to a few changes of the kinds that find faults in parsers."""
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 4, 16))):
        if changed:
            dice.choice(CHANGES)(changed, dice, others)
    return bytes(changed)


def _place(data: bytearray, dice: random.Random) -> int:
    """Anywhere, headers more often."""
    return dice.randrange(min(len(data), dice.choice((64, 512, len(data)))))


def _bit(data: bytearray, dice: random.Random, others: list[bytes]) -> None:
    data[_place(data, dice)] ^= 1 << dice.randrange(8)


def _byte(data: bytearray, dice: random.Random, others: list[bytes]) -> None:
    data[_place(data, dice)] = dice.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, dice.randrange(256)))


def _number(data: bytearray, dice: random.Random, others: list[bytes]) -> None:
    size, at = dice.choice((2, 4, 8)), _place(data, dice)
    value = dice.choice((0, 1, 2 ** (8 * size) - 1, 2 ** (8 * size - 1), 2 ** dice.randrange(8 * size), len(data)))
    data[at : at + size] = (value % 2 ** (8 * size)).to_bytes(size, dice.choice(("big", "little")))


def _cut(data: bytearray, dice: random.Random, others: list[bytes]) -> None:
    del data[_place(data, dice) :]


def _drop(data: bytearray, dice: random.Random, others: list[bytes]) -> None:
    at = _place(data, dice)
    del data[at : at + dice.choice((1, 2, 4, 16, 200))]


def _repeat(data: bytearray, dice: random.Random, others: list[bytes]) -> None:
    at = _place(data, dice)
    data[at:at] = bytes(data[at : at + dice.choice((1, 4, 16, 200))]) * dice.choice((1, 2, 50))


def _move(data: bytearray, dice: random.Random, others: list[bytes]) -> None:
    at, to, size = _place(data, dice), _place(data, dice), dice.choice((2, 4, 16, 64))
    data[to : to + size] = data[at : at + size]


def _splice(data: bytearray, dice: random.Random, others: list[bytes]) -> None:
    other = dice.choice(others)
    at = dice.randrange(len(other))
    data[_place(data, dice) :] = other[at:]


CHANGES: tuple[Callable[[bytearray, random.Random, list[bytes]], None], ...] = (
    *(_bit, _byte, _byte, _number, _number, _cut, _drop, _repeat, _move, _splice),
)


@dataclass(frozen=True)
class Outcome:
    """What became of one mutation. `fault` is what was promised and not kept; empty if nothing."""

    name: str
    said: str
    seconds: float
    fault: str = ""
    data: bytes = b""


def outcome_of(decoders: Decoders, name: str, data: bytes, work: Work, *, is_search: bool) -> Outcome:
    """Has a mutation decoded, and checks what comes back."""
    began, said, fault = time.monotonic(), "decoded", ""
    try:
        images.probe(data, work.limits)
    except UnreadableImage:
        pass
    except Exception as error:  # noqa: BLE001 - which one would be a fault is what is looked for
        fault = f"probe raised {error!r}"
    try:
        found = decoders.decode_quickly(data, work) if is_search else decoders.decode(data, work)
        prepared = found.finish() if isinstance(found, Unfinished) else found
        if prepared.pixels.shape != (64, 64, 3) or not prepared.thumbnail.startswith(b"\xff\xd8"):
            fault = f"made {prepared.pixels.shape} of it"
    except UnreadableImage as error:
        said = error.message
        fault = fault or ("" if REASONS.match(said) else f"says {said!r}")
    except Exception as error:  # noqa: BLE001
        fault = f"raised {error!r}"
    return Outcome(name, said, time.monotonic() - began, fault, data if fault or CRASHED in said else b"")


def mutations(count: int, seed: int, only: str | None) -> Iterator[tuple[str, bytes]]:
    """Names of formats and mutations of them, all formats equally often."""
    kinds = seeds()
    chosen = [name for name in kinds if only is None or name.startswith(only)]
    for number in range(count):
        dice = random.Random(f"{seed} {number}")
        name = chosen[number % len(chosen)]
        yield name, mutated(kinds[name], dice, list(kinds.values()))


def run(count: int, seed: int = 0, only: str | None = None) -> tuple[dict[str, Any], list[Outcome]]:
    """The report, and each outcome that is a fault or ended a child."""
    limits = Limits(max_pixels=MEGAPIXELS * 1_000_000, max_decode_s=DEADLINE_S)
    work = Work(WORK, 72, limits)
    began, at_start = time.monotonic(), psutil.Process().memory_info().rss
    decoders, peak, outcomes = Decoders(MEMORY_MB * 2**20), 0, list[Outcome]()
    try:
        with ThreadPoolExecutor(4) as threads:
            pending = enumerate(mutations(count, seed, only))
            while batch := [item for _, item in zip(range(200), pending, strict=False)]:
                outcomes += threads.map(
                    lambda item: outcome_of(decoders, item[1][0], item[1][1], work, is_search=item[0] % 2 > 0), batch
                )
                peak = max(peak, _children_mb(decoders))
    finally:
        decoders.close()
    kept = [each for each in outcomes if each.data]
    report = {
        "mutations": len(outcomes),
        "formats": len({each.name for each in outcomes}),
        "seconds": round(time.monotonic() - began, 1),
        "decoded": sum(each.said == "decoded" for each in outcomes),
        "refused": dict(Counter(_kind(each.said) for each in outcomes if each.said != "decoded").most_common()),
        "faults": [f"{each.name}: {each.fault}" for each in outcomes if each.fault],
        "ended children": dict(Counter(each.name for each in outcomes if CRASHED in each.said)),
        "over the deadline": dict(Counter(each.name for each in outcomes if each.said.startswith("takes more"))),
        "longest_s": round(max(each.seconds for each in outcomes), 2),
        "parent_grew_mb": (psutil.Process().memory_info().rss - at_start) // 2**20,
        "children_mb": peak,
    }
    return report, kept


def _children_mb(decoders: Decoders) -> int:
    """What the children hold after a batch, the nursery included, each page counted once."""
    if decoders.nursery_pid is None:
        return 0
    nursery = psutil.Process(decoders.nursery_pid)
    total = 0
    for process in (nursery, *nursery.children()):
        try:
            info = process.memory_full_info()
        except psutil.Error:
            continue
        total += getattr(info, "pss", info.rss)
    return total // 2**20


def _kind(said: str) -> str:
    """A message without its numbers and names."""
    return re.sub(r"^(is an? )(?!camera|video|damaged).*?(?=, which|$)", r"\1…", re.sub(r"\d+", "N", said))[:90]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="formats whose name begins so")
    parser.add_argument("--keep", type=Path, help="folder for the files that broke a promise or ended a child")
    options = parser.parse_args()
    report, kept = run(options.mutations, options.seed, options.only)
    print(json.dumps(report, indent=2))
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        for each in kept:
            (options.keep / f"{each.name}-{hashlib.sha256(each.data).hexdigest()[:12]}").write_bytes(each.data)
    sys.exit(bool(report["faults"]))


if __name__ == "__main__":
    main()
