"""A webcam in a notebook: the browser's camera sends small frames, and a function of yours gets each as an image.

`Webcam` is a widget for Jupyter, JupyterLab, VS Code and Colab (package anywidget); it needs a browser that has a
camera and a page on localhost or https. `frames_of` reads a recorded clip instead, for machines that have none.
"""

import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageSequence

from ml import images
from ml.images import UnreadableImage

_SCRIPT = """
export default { render({ model, el }) {
  const video = Object.assign(document.createElement("video"), { autoplay: true, muted: true, playsInline: true });
  const canvas = document.createElement("canvas"), answer = document.createElement("pre");
  video.width = 320;
  el.append(video, answer);
  model.on("change:answer", () => { answer.textContent = model.get("answer"); send(); });
  function send() {
    if (!video.videoWidth) return setTimeout(send, 200);
    canvas.width = 320;
    canvas.height = Math.round(320 * video.videoHeight / video.videoWidth);
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    model.set("frame", canvas.toDataURL("image/jpeg", 0.85) + "#" + Date.now());
    model.save_changes();
  }
  navigator.mediaDevices.getUserMedia({ video: true }).then(
    (stream) => { video.srcObject = stream; send(); },
    (error) => { answer.textContent = "no camera: " + error.message; });
  return () => video.srcObject?.getTracks().forEach((track) => track.stop());
} };
"""


def webcam(on_frame: Callable[[Image.Image], str]) -> Any:
    """A widget that shows the camera, and below it what `on_frame` says of the latest frame.

    The next frame is sent when the last one is answered, so that a slow machine only answers less often.

    Args:
        on_frame: an RGB image, 320 pixels wide, to a text.

    Raises:
        ImportError: the package anywidget is not installed.
    """
    import anywidget
    import traitlets

    class Webcam(anywidget.AnyWidget):
        _esm = _SCRIPT
        frame = traitlets.Unicode().tag(sync=True)
        answer = traitlets.Unicode().tag(sync=True)

        @traitlets.observe("frame")
        def _look(self, change: Any) -> None:
            data = base64.b64decode(change["new"].partition(",")[2].partition("#")[0])
            try:
                # The page waits for a change: the same text twice in a row differs by a space.
                self.answer = on_frame(images.decode(data)) + " " * (not self.answer.endswith(" "))
            except UnreadableImage as error:
                self.answer = error.message

    return Webcam()


def frames_of(clip: Path) -> Iterator[Image.Image]:
    """The frames of a recorded clip, an animated GIF or WebP, as RGB images.

    Raises:
        UnreadableImage: it is neither.
    """
    try:
        with Image.open(io.BytesIO(clip.read_bytes()), formats=("GIF", "WEBP")) as opened:
            for frame in ImageSequence.Iterator(opened):
                yield frame.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise UnreadableImage(f"{clip.name} is no animated GIF or WebP") from error
