"""A camera's frames reach a function as images, whatever the browser sends."""

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from ml.images import UnreadableImage
from ml.notebook.webcam import frames_of, webcam


def _sent(data: bytes, number: int) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}#{number}"


def _jpeg(colour: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (320, 240), colour).save(stream, "JPEG")
    return stream.getvalue()


def test_each_frame_is_answered_also_when_the_answer_stays_the_same() -> None:
    pytest.importorskip("anywidget")
    seen: list[tuple[int, int]] = []

    def on_frame(frame: Image.Image) -> str:
        seen.append(frame.size)
        return "a mug"

    camera = webcam(on_frame)
    answers = []
    camera.observe(lambda change: answers.append(change["new"].strip()), "answer")
    for number in range(3):
        camera.frame = _sent(_jpeg("red"), number)
    assert seen == [(320, 240)] * 3
    assert answers == ["a mug"] * 3


def test_a_frame_that_is_no_image_is_answered_with_the_reason() -> None:
    pytest.importorskip("anywidget")
    camera = webcam(lambda _frame: "a mug")
    camera.frame = _sent(b"nonsense", 0)
    assert camera.answer and camera.answer != "a mug"


def test_a_clip_is_read_frame_by_frame(tmp_path: Path) -> None:
    clip = tmp_path / "clip.webp"
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(clip, save_all=True, append_images=frames[1:], duration=100, lossless=True)
    assert [frame.getpixel((5, 5)) for frame in frames_of(clip)] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


def test_a_clip_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "clip.webp").write_bytes(b"nonsense")
    with pytest.raises(UnreadableImage, match=r"clip\.webp is no animated"):
        list(frames_of(tmp_path / "clip.webp"))
