"""Bytes to images: every format, orientation and mode that is taken, and every way in which bytes can be bad."""

import io
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, BrokenBarrierError

import numpy as np
import pillow_jxl  # noqa: F401 - teaches Pillow to write JPEG XL
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ml import images
from ml.images import Limits, UnreadableImage, decoding


def scene(width: int = 96, height: int = 64) -> Image.Image:
    """Red above, green below, with a blue left edge: shows turns, flips and swapped channels."""
    array = np.zeros((height, width, 3), np.uint8)
    array[: height // 2] = (220, 30, 30)
    array[height // 2 :] = (30, 200, 30)
    array[:, : width // 6] = (30, 30, 220)
    return Image.fromarray(array)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def difference(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, np.float32) - np.asarray(other, np.float32)).mean())


def png_header(width: int, height: int, *, gray: bool = False, data: bytes = zlib.compress(b"")) -> bytes:
    """A PNG that claims a size and holds nothing, or the given compressed rows."""
    parts = (b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0 if gray else 2, 0, 0, 0), b"IDAT" + data)
    chunks = (struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


WRITTEN = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "HEIF", "AVIF", "JPEG2000", "PPM", "QOI", "JXL")


@pytest.mark.parametrize("format", WRITTEN)
def test_it_reads_every_listed_format(format):
    data = encoded(scene(), format)
    info = images.probe(data)
    image = images.decode(data)
    assert info.format == format
    assert (info.width, info.height) == image.size == (96, 64)
    assert image.mode == "RGB"
    assert difference(image, scene()) < 8


def test_the_listed_formats_are_all_tested():
    assert {*WRITTEN, "RAW"} == set(images.FORMATS)  # raw files: tests/ml/images/test_raw.py


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(format, orientation):
    stored_as = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = scene() if orientation == 1 else scene().transpose(stored_as[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, format, exif=exif, **({"quality": 95} if format in ("JPEG", "WEBP") else {}))
    info = images.probe(data)
    assert (info.width, info.height) == (96, 64)
    assert difference(images.decode(data), scene()) < 6


def test_damaged_exif_does_not_cost_the_image():
    data = encoded(scene(), "JPEG", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff\x01\x12")
    assert images.decode(data).size == (96, 64)


def test_heic_of_a_phone_comes_out_upright_once():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = scene().transpose(Image.Transpose.ROTATE_90)
    data = encoded(turned, "HEIF", exif=exif.tobytes(), quality=95)
    info = images.probe(data)
    assert images.decode(data).size == (info.width, info.height) == (96, 64)
    assert difference(images.decode(data), scene()) < 6


def test_16_bit_gray_is_scaled_and_not_clipped():
    ramp = np.linspace(0, 65535, 256 * 16).reshape(16, 256).astype(np.uint16)
    image = images.decode(encoded(Image.fromarray(ramp), "PNG"))
    assert np.abs(np.asarray(image)[..., 0].astype(int) - ramp // 257).max() <= 1


@pytest.mark.parametrize("high", [1.0, 255.0, 4000.0])
def test_float_gray_keeps_its_contrast(high):
    ramp = np.linspace(0, high, 256, dtype=np.float32)[None].repeat(8, 0)
    values = np.asarray(images.decode(encoded(Image.fromarray(ramp), "TIFF")))[0, :, 0]
    assert values[0] == 0 and values[-1] == 255
    assert np.all(np.diff(values.astype(int)) >= 0)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_are_white(mode):
    clear = Image.new("RGBA", (20, 20), (0, 0, 0, 0)).convert(mode)
    options = {"transparency": clear.getpixel((0, 0))} if mode == "P" else {}
    image = images.decode(encoded(clear, "PNG", **options))
    assert np.asarray(image).min() == 255


@pytest.mark.parametrize(
    ("mode", "format"), [("1", "PNG"), ("L", "JPEG"), ("L", "TIFF"), ("P", "BMP"), ("I;16", "TIFF")]
)
def test_every_gray_comes_out_as_the_same_gray(mode, format):
    gray = np.zeros((32, 48), np.uint8)
    gray[:, 24:] = 255
    stored = Image.fromarray(gray.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(gray).convert(mode)
    assert stored.mode == mode
    values = np.asarray(images.decode(encoded(stored, format)), np.int16)
    assert np.abs(values - gray[..., None]).max() <= 4


def test_half_transparent_red_over_white_is_pink():
    image = images.decode(encoded(Image.new("RGBA", (8, 8), (255, 0, 0, 128)), "PNG"))
    assert np.abs(np.asarray(image)[0, 0].astype(int) - (255, 127, 127)).max() <= 1


def test_cmyk_gets_its_colours_back():
    assert difference(images.decode(encoded(scene().convert("CMYK"), "JPEG", quality=95)), scene()) < 8


def test_the_first_frame_of_an_animation_is_the_image():
    data = encoded(scene(), "GIF", save_all=True, append_images=[Image.new("RGB", (96, 64), "white")] * 3)
    assert difference(images.decode(data), scene()) < 8


def test_a_phone_jpeg_with_a_second_image_is_its_first():
    data = encoded(scene(), "MPO", save_all=True, append_images=[Image.new("RGB", (96, 64), "white")], quality=95)
    assert images.probe(data).format == "JPEG"
    assert difference(images.decode(data), scene()) < 6


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_reduced_image_keeps_the_asked_short_side(format):
    large = scene(2400, 1600)
    image = images.decode(encoded(large, format), min_side=256)
    assert 256 <= min(image.size) < 512
    assert image.width / image.height == pytest.approx(1.5, abs=0.01)
    assert difference(image, scene(2400, 1600).resize(image.size)) < 6


def test_a_small_image_is_not_enlarged():
    assert images.decode(encoded(scene(), "JPEG"), min_side=256).size == (96, 64)


def test_a_thumbnail_is_small_and_carries_no_metadata():
    exif = Image.Exif()
    exif[0x010E] = "at home, 48.1 N"
    image = images.decode(encoded(scene(1200, 800), "JPEG", exif=exif, comment=b"secret"))
    data = images.thumbnail(image, 256)
    thumbnail = Image.open(io.BytesIO(data))
    assert thumbnail.size == (256, 171)
    assert not thumbnail.getexif() and b"secret" not in data and b"at home" not in data
    assert image.size == (1200, 800)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"hello, I am text", "is no image that we read"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is a drawing (SVG)"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is a PostScript document, which is not read"),
        (b"\xff\xd8\xff\xe0", "is truncated"),
        (encoded(scene(), "JPEG")[:400], "is truncated"),
        (encoded(scene(), "PNG")[:-60], "is truncated"),
        (png_header(12000, 10000), "is 120 megapixels (12000 x 10000), the limit is 100 megapixels"),
        (png_header(30000, 30000), "is 900 megapixels (30000 x 30000), the limit is 100 megapixels"),
    ],
)
def test_what_is_no_image_is_refused_with_the_reason(data, reason):
    with pytest.raises(UnreadableImage) as caught:
        images.decode(data)
    assert caught.value.message.startswith(reason)
    assert not caught.value.message.endswith(".")


def test_the_limit_on_bytes_names_both_sizes():
    with pytest.raises(UnreadableImage, match=r"is 3\.0 MB, the limit is 2\.0 MB \(LOOKALIKE_MAX_UPLOAD_MB\)"):
        images.probe(b"\xff" * 3 * 2**20, Limits(max_bytes=2 * 2**20))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF", "JPEG2000", "QOI"])
def test_the_limit_on_pixels_holds_before_decoding_whatever_the_format(format, monkeypatch):
    data = encoded(scene(900, 500), format)
    monkeypatch.setattr(decoding, "_opened", lambda *_: pytest.fail("decoded before the size was checked"))
    most = "0.4" if format == "JPEG" else "0.1"  # of a JPEG, a fourth is decoded at most
    for step in (images.probe, images.decode):
        with pytest.raises(UnreadableImage) as caught:
            step(data, limits=Limits(max_pixels=100_000))
        expected = f"is 0.45 megapixels (900 x 500), the limit is {most} megapixels (LOOKALIKE_MAX_MEGAPIXELS)"
        assert caught.value.message == expected


def test_a_warning_of_the_decoder_is_an_error(monkeypatch):
    def warning(*_):
        exec(compile("import warnings; warnings.warn('odd data')", "decoder", "exec"), {"__name__": "PIL.SomePlugin"})

    monkeypatch.setattr(decoding, "_finished", warning)
    with pytest.raises(UnreadableImage, match="is damaged"):
        images.decode(encoded(scene(), "PNG"))


def test_many_threads_decode_large_images():
    data = encoded(Image.new("L", (6000, 5000)), "PNG")  # above the size from which they go one by one
    with ThreadPoolExecutor(4) as threads:
        sizes = list(threads.map(lambda _: images.decode(data, min_side=200).size, range(4)))
    assert sizes == [(240, 200)] * 4


@pytest.mark.parametrize(("size", "meet"), [((6000, 5000), False), ((60, 50), True)])
def test_large_images_are_decoded_one_at_a_time_and_small_ones_side_by_side(monkeypatch, size, meet):
    """Two large ones at once could take more memory than the container has."""
    finished, barrier = decoding._finished, Barrier(2)

    def met(*arguments):
        try:
            barrier.wait(timeout=2 if not meet else 30)  # for another thread in here
        except BrokenBarrierError:
            return finished(*arguments)
        meetings.append(arguments)
        return finished(*arguments)

    meetings: list[object] = []
    monkeypatch.setattr(decoding, "_finished", met)
    data = encoded(Image.new("L", size), "PNG")
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: images.decode(data, min_side=20), range(2)))
    assert bool(meetings) is meet


_SEEDS = {format: encoded(scene(40, 24), format) for format in WRITTEN}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(_SEEDS)), st.data())
def test_corrupted_files_give_an_image_or_the_one_error(format, data):
    broken = bytearray(_SEEDS[format])
    for _ in range(data.draw(st.integers(1, 8))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(broken)))
    content = bytes(broken[:cut] if data.draw(st.booleans()) else broken)
    try:
        image = images.decode(content, min_side=16, limits=Limits(max_pixels=1_000_000))
    except UnreadableImage:
        return
    assert image.mode == "RGB" and min(image.size) >= 1


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([b"", *(seed[:12] for seed in _SEEDS.values())]), st.binary(max_size=400))
def test_random_bytes_behind_a_signature_raise_nothing_else(signature, rest):
    for step in (images.probe, images.decode):
        try:
            step(signature + rest, limits=Limits(max_pixels=1_000_000))
        except UnreadableImage:
            continue


def test_it_needs_no_torch():
    code = "import ml.images, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3]).returncode == 0


@pytest.mark.photos
def test_every_odd_upload_is_taken_or_refused_as_its_name_says(odd):
    for path in sorted(odd.iterdir()):
        try:
            image = images.decode(path.read_bytes(), min_side=256)
        except UnreadableImage as error:
            assert path.name.startswith("bad"), f"{path.name} {error.message}"
            assert error.message.startswith(("is ", "has ", "needs "))
        else:
            assert not path.name.startswith("bad") or path.name == "bad_bit_rot.jpg", path.name
            assert image.mode == "RGB"


@pytest.mark.photos
def test_the_rotated_photo_is_the_upright_one(odd):
    rotated = images.decode((odd / "good_exif_rotated.jpg").read_bytes())
    upright = images.decode((odd / "good_upright_of_exif_rotated.jpg").read_bytes())
    assert difference(rotated, upright) < 6


@pytest.mark.photos
def test_the_bomb_does_not_raise_memory(odd):
    assert "900 megapixels" in refused_in_a_fresh_process(odd / "bad_bomb_30000x30000.png")


def test_a_bomb_of_our_own_does_not_raise_memory(tmp_path):
    # 225 megapixels of gray in 0.2 MB, which would decode: only the limit stands before it.
    pixels = zlib.compress(bytes(15_001 * 15_000), 1)
    (tmp_path / "bomb.png").write_bytes(png_header(15_000, 15_000, gray=True, data=pixels))
    assert "225 megapixels" in refused_in_a_fresh_process(tmp_path / "bomb.png")


def refused_in_a_fresh_process(path: Path) -> str:
    """The reason. Fails if peak memory rises by 200 MB: in a process that ran other tests the peak would be old."""
    code = (
        "import resource, sys; from pathlib import Path; from ml import images\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "for step in (images.probe, images.decode):\n"
        "    try: step(Path(sys.argv[1]).read_bytes())\n"
        "    except images.UnreadableImage as error: print(error.message)\n"
        "assert peak() - before < 200 * 1024, peak() - before"
    )
    child = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=Path(__file__).parents[3], capture_output=True, text=True
    )
    assert child.returncode == 0, child.stderr
    first, second = child.stdout.splitlines()
    assert first == second
    return first
