"""A library of what cameras, scanners and exporters write: indexed as its owner sees it, or refused with the reason."""

import io
import json
import re
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests
from PIL import Image

from ml import images
from tests.conftest import SHARED
from tests.e2e.conftest import Program, RunningStack

# Copies that hold less than the reference are compared with one that holds as much: fewer pixels, or gray ones.
REDUCED = ("bmp32_v4_alpha0.bmp", "bigztxt_small.png")
GRAY = ("gray12in16.tiff",)
# A mosaic of 96 x 128 gray values, developed as light: brighter, with colours at its edges. Its pixels are compared.
RAW = "thumb_first.dng"
ALIKE = ("bigztxt_small.png", "png_badcrc_text.png", "trunc_eoi.jpg", "ref_upright.png")


@pytest.fixture(scope="session")
def odd2() -> Path:
    """Photos that were indexed wrongly or refused for no good reason, of one scene; the README says what is right."""
    folder = SHARED / "odd2"
    if not folder.is_dir():
        pytest.skip("the photos of ../shared/data/odd2 are not here")
    return folder


def similarity(stack: RunningStack, image_id: str, query: bytes) -> float:
    """Of a photo in the gallery to another, as a search finds it."""
    answer = requests.post(f"{stack.base_url}/api/v1/search", files={"image": query}, data={"k": "200"}, timeout=60)
    results = {each["id"]: each["similarity"] for each in answer.json()["results"]}
    return float(results[image_id])


def reference(odd2: Path, name: str) -> bytes:
    """What a photo has to look like: the reference, in gray or at the photo's size where it holds no more."""
    with Image.open(odd2 / "ref_upright.png") as image:
        if name in GRAY:
            image = image.convert("L")
        if name in REDUCED:
            reduced = images.probe((odd2 / name).read_bytes())
            image = image.resize((reduced.width, reduced.height), Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
    return buffer.getvalue()


def likeness(photo: Path, reference: Path) -> float:
    """Correlation of the brightness of pixels, at the photo's size."""
    shown = images.decode(photo.read_bytes()).convert("L")
    wanted = images.decode(reference.read_bytes()).convert("L").resize(shown.size)
    return float(np.corrcoef(np.asarray(shown).reshape(-1), np.asarray(wanted).reshape(-1))[0, 1])


def test_each_photo_is_indexed_as_it_looks_or_refused_with_its_reason(
    stack: RunningStack, at_stack: Program, odd2: Path
) -> None:
    report = at_stack("index", odd2, "--json").report
    reasons = {Path(each["path"]).name: each["reason"] for each in report["failures"]}
    listed = requests.get(f"{stack.base_url}/api/v1/images", params={"limit": 500}, timeout=60).json()["images"]
    ids = {each["name"]: each["id"] for each in listed if each["path"] and Path(each["path"]).parent.name == "odd2"}
    try:
        found = {
            name: similarity(stack, id, reference(odd2, name)) for name, id in ids.items() if name != "flat_79MP.png"
        }
    finally:
        stack.client.delete(list(ids.values()))
    print(json.dumps({"similarities": found, "failures": reasons}, indent=2))
    assert set(reasons) == {"README.md", "rgb16_planar.tiff"}
    assert "16 bits, in separate planes, which is not supported" in reasons["rgb16_planar.tiff"]
    assert report["added"] == len(ids) == len(found) + 1
    assert set(found) >= {RAW, "icc_prophoto.jpg", *REDUCED, *GRAY}
    assert found.pop(RAW) > 0.4
    assert likeness(odd2 / RAW, odd2 / "ref_upright.png") > 0.9
    for name, value in found.items():
        assert value >= (0.99 if name in ALIKE else 0.97), (name, value)


def flat_png(megapixels: int) -> bytes:
    """One colour, a few kilobytes, and hundreds of megabytes for whoever decodes it."""
    width, height = 10_000, 100 * megapixels
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packer = zlib.compressobj(9)
    band = (b"\x00" + bytes([90, 120, 150]) * width) * 100
    pixels = b"".join(packer.compress(band) for _ in range(height // 100)) + packer.flush()
    chunks = [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def peak_mb(process: psutil.Process) -> float:
    """Most memory that a process and its children ever had."""
    status = [Path(f"/proc/{each.pid}/status") for each in (process, *process.children(recursive=True))]
    if not status[0].exists():
        pytest.skip("peak memory is read from /proc")
    return sum(int(re.search(r"VmHWM:\s+(\d+) kB", each.read_text())[1]) / 1024 for each in status if each.exists())


def test_uploads_of_huge_flat_photos_cost_the_portal_nothing(stack: RunningStack) -> None:
    shared = SHARED / "odd2" / "flat_79MP.png"
    data = shared.read_bytes() if shared.exists() else flat_png(79)
    portal = psutil.Process(stack.parts.runner("portal").pid)

    def upload(number: int, image: bytes) -> requests.Response:
        files = {"images": (f"flat-{number}.png", image)}
        return requests.post(f"{stack.base_url}/api/v1/images", files=files, data={"wait_s": "30"}, timeout=120)

    with ThreadPoolExecutor(6) as threads:
        small = (stack.photos / "honey-box" / "honey-box_01.jpg").read_bytes()
        for answer in threads.map(upload, range(6), [small] * 6):  # every thread of the portal has worked once
            assert answer.status_code in (200, 201), answer.text
        before = peak_mb(portal)
        answers = list(threads.map(upload, range(6), [data] * 6))
    grown = peak_mb(portal) - before
    print(f"the portal's peak grew from {before:.0f} MB by {grown:.1f} MB")
    assert {answer.status_code for answer in answers} <= {200, 201}, [answer.text for answer in answers]
    stack.client.delete([answers[0].json()["images"][0]["id"]])
    assert grown < 50
