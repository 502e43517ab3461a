"""Images to vectors on this machine: what every network must give, how it is chosen, and how fast it starts."""

import contextlib
import dataclasses
import json
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ml import images
from ml.errors import BadBundle, LookalikeError
from ml.model import embedder, openvino_backend
from ml.model.backend import Interrupted
from ml.model.bundle import Bundle
from ml.model.embedder import Embedder
from ml.model.network import from_bundle, pretrained
from ml.model.openvino_backend import OpenVinoNetwork
from ml.model.save import save_bundle
from ml.model.torch_backend import TorchNetwork

ROOT = Path(__file__).parents[3]


@pytest.fixture
def cache(default_embedder: Embedder, compiled: Path, tmp_path: Path) -> Path:
    """A copy of the cache that loading the default model filled, to be spoiled."""
    return Path(shutil.copytree(compiled, tmp_path / "compiled"))


@pytest.fixture(scope="module")
def photos(demo_photos: Path) -> list[Image.Image]:
    return [images.decode(path.read_bytes(), min_side=256) for path in sorted(demo_photos.rglob("*_01.jpg"))]


@pytest.fixture(scope="module", params=["openvino", "torch", pytest.param("cuda", marks=pytest.mark.cuda)])
def loaded(request: pytest.FixtureRequest, default_bundle: Bundle) -> Embedder:
    """The same model on each kind of network."""
    if request.param == "openvino":
        return request.getfixturevalue("default_embedder")
    if request.param == "torch":
        return Embedder(default_bundle, TorchNetwork.on_cpu(default_bundle, "asked for"))
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU: torch finds none")
    return embedder.load(default_bundle.directory, device="cuda")


class TestEveryNetwork:
    """What callers may rely on, whatever computes."""

    def test_rows_have_unit_length(self, loaded, photos):
        vectors = loaded.embed(photos)
        assert vectors.shape == (len(photos), loaded.dim) and vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)

    def test_it_agrees_with_the_model_in_float32(self, loaded, photos):
        pixels = np.stack([loaded.preprocessing.apply(photo) for photo in photos])
        with torch.inference_mode():
            expected = from_bundle(loaded.bundle)(torch.from_numpy(pixels)).numpy()
        assert (loaded.embed_arrays(pixels) * expected).sum(axis=1).mean() >= 0.999

    def test_an_image_gets_the_same_vector_alone_and_in_any_batch(self, loaded, photos):
        together = loaded.embed(photos)
        for count in (1, 5):
            apart = np.concatenate([loaded.embed(photos[i : i + count]) for i in range(0, len(photos), count)])
            np.testing.assert_allclose(apart, together, atol=1e-3)
            assert (apart * together).sum(axis=1).min() >= 0.9995

    def test_the_same_images_get_the_same_vectors_again(self, loaded, photos):
        assert np.array_equal(loaded.embed(photos), loaded.embed(photos))

    def test_threads_may_share_it(self, loaded, photos):
        expected = loaded.embed(photos)
        with ThreadPoolExecutor(4) as threads:
            results = list(threads.map(lambda part: loaded.embed(photos[part : part + 2]), [0, 2, 4, 6] * 3))
        for part, vectors in zip([0, 2, 4, 6] * 3, results, strict=True):
            np.testing.assert_allclose(vectors, expected[part : part + 2], atol=1e-3)

    def test_nothing_gives_nothing(self, loaded):
        assert loaded.embed([]).shape == loaded.embed_arrays(np.empty((0, 224, 224, 3), np.uint8)).shape == (0, 1280)

    def test_a_read_only_or_strided_array_is_taken(self, loaded, photos):
        pixels = np.stack([loaded.preprocessing.apply(photo) for photo in photos[:4]])
        pixels.flags.writeable = False
        np.testing.assert_allclose(loaded.embed_arrays(pixels[::2]), loaded.embed(photos[:4:2]), atol=1e-3)

    def test_what_was_interrupted_gives_the_same_when_done_again(self, loaded, photos):
        pixels = np.concatenate([np.stack([loaded.preprocessing.apply(photo) for photo in photos])] * 8)
        expected = loaded.embed_arrays(pixels)
        for size in (len(pixels), 1):
            with ThreadPoolExecutor(1) as thread:
                for pause_s in (0.0, 0.002, 0.01):
                    found = thread.submit(loaded.embed_arrays, pixels[:size])
                    time.sleep(pause_s)
                    loaded.interrupt()
                    with contextlib.suppress(Interrupted):  # it may have been faster, and a GPU ends what it began
                        found.result()
            np.testing.assert_allclose(loaded.embed_arrays(pixels[:size]), expected[:size], atol=1e-3)

    def test_it_says_why(self, loaded):
        assert loaded.why.startswith(("openvino ", "torch ")) and loaded.precision in loaded.why.split(":")[0]


def test_openvino_gives_bit_identical_vectors_whatever_the_batch(default_embedder, photos):
    together = default_embedder.embed(photos)
    apart = np.concatenate([default_embedder.embed([photo]) for photo in photos])
    assert np.array_equal(apart, together)


def test_openvino_lets_go_of_what_is_interrupted(default_embedder, photos):
    pixels = np.concatenate([np.stack([default_embedder.preprocessing.apply(photo) for photo in photos])] * 8)
    with ThreadPoolExecutor(1) as thread:
        found = thread.submit(default_embedder.embed_arrays, pixels)
        while not found.done():
            default_embedder.interrupt()
            time.sleep(0.005)
        with pytest.raises(Interrupted):
            found.result()


def test_calls_of_any_size_are_right_after_ones_that_were_interrupted(default_embedder, photos):
    """Vectors of other images, or too many of them, were the answer when a cancelled call left stale shapes behind."""
    pixels = np.stack([default_embedder.preprocessing.apply(photo) for photo in photos[:4]])
    expected = default_embedder.embed_arrays(pixels)
    dice, ended = random.Random(0), threading.Event()

    def interrupt() -> None:
        while not ended.wait(0.02 * dice.random()):
            default_embedder.interrupt()

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        for attempt in range(300):
            size = 1 + attempt % 4
            with contextlib.suppress(Interrupted):
                vectors = default_embedder.embed_arrays(pixels[:size])
                np.testing.assert_allclose(vectors, expected[:size], atol=1e-3)
    finally:
        ended.set()
        thread.join()
    np.testing.assert_allclose(default_embedder.embed_arrays(pixels[:3]), expected[:3], atol=1e-3)


def test_low_precision_is_taken_only_when_it_agrees(default_embedder, default_bundle, cache, monkeypatch):
    if default_embedder.precision == "f32":
        pytest.skip(f"no low precision here: {default_embedder.why}")
    cosine = re.search(r"mean cosine with f32 is (\S+)", default_embedder.why)
    assert cosine and 0.999 <= float(cosine[1]) <= 1
    monkeypatch.setattr(openvino_backend, "MIN_MEAN_COSINE", 1.1)
    next(cache.rglob("choice-*.json")).unlink()
    strict = embedder.load(default_bundle.directory, device="cpu", cache_dir=cache)
    assert strict.precision == "f32" and "below 1.1" in strict.why


def test_the_choice_is_made_again_on_another_processor(default_bundle, cache):
    (choice,) = cache.rglob("choice-*.json")
    choice.write_text(json.dumps({"processor": "another", "precision": "f32", "why": "made elsewhere"}))
    assert embedder.load(default_bundle.directory, device="cpu", cache_dir=cache).why != "made elsewhere"
    choice.write_text("damaged")
    assert embedder.load(default_bundle.directory, device="cpu", cache_dir=cache).why.startswith("openvino")


def test_a_start_from_the_cache_imports_no_torch(default_bundle, cache):
    code = (
        "import sys; from pathlib import Path; from ml.model import embedder;"
        f"e = embedder.load(Path({str(default_bundle.directory)!r}), device='cpu', cache_dir=Path({str(cache)!r}));"
        "assert e.why.startswith('openvino'), e.why;"
        "found = {'torch', 'timm', 'torchvision'} & set(sys.modules); assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_without_openvino_torch_computes(default_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "ml.model.openvino_backend", None)
    monkeypatch.delattr("ml.model.openvino_backend", raising=False)
    loaded = embedder.load(default_bundle.directory, device="cpu")
    assert loaded.why == "torch f32: openvino is not installed"


def test_a_network_that_openvino_refuses_goes_to_torch(default_bundle, monkeypatch):
    def refuse(*_):
        raise RuntimeError("Check failed:\nno such operation")

    monkeypatch.setattr(OpenVinoNetwork, "load", refuse)
    loaded = embedder.load(default_bundle.directory, device="cpu")
    assert loaded.why == "torch f32: openvino does not take this model (no such operation)"


def test_cuda_that_is_not_there_is_an_error(default_bundle):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(LookalikeError, match="torch finds no CUDA device"):
        embedder.load(default_bundle.directory, device="cuda")


def test_a_model_that_gives_other_vectors_than_when_saved_is_refused(default_bundle, cache, monkeypatch):
    pixels, _, vector = default_bundle.golden()
    monkeypatch.setattr(Bundle, "golden", lambda _: (pixels, pixels, np.roll(vector, 1)))
    with pytest.raises(BadBundle, match="gives another vector for its golden image"):
        embedder.load(default_bundle.directory, device="cpu", cache_dir=cache)


@pytest.mark.photos
def test_every_odd_image_is_found_as_itself(default_embedder, odd):
    loaded = default_embedder
    names = [path for path in sorted(odd.iterdir()) if not path.name.startswith("bad")]
    decoded = [images.decode(path.read_bytes(), min_side=loaded.preprocessing.min_side) for path in names]
    vectors = loaded.embed(decoded)
    assert np.isfinite(vectors).all()
    by_name = dict(zip((path.name for path in names), vectors, strict=True))
    assert by_name["good_exif_rotated.jpg"] @ by_name["good_upright_of_exif_rotated.jpg"] >= 0.98


@pytest.mark.photos
def test_nine_of_ten_nearest_neighbours_are_of_the_same_class_untrained(default_embedder, grocery):
    loaded = default_embedder
    paths = sorted((grocery / "test").rglob("*.jpg"))
    with ThreadPoolExecutor(2) as threads:
        pixels = list(
            threads.map(
                lambda path: loaded.preprocessing.apply(
                    images.decode(path.read_bytes(), min_side=loaded.preprocessing.min_side)
                ),
                paths,
            )
        )
    vectors = loaded.embed_arrays(np.stack(pixels))
    similarities = vectors @ vectors.T
    assert np.abs(np.diag(similarities) - 1).max() < 1e-3
    np.fill_diagonal(similarities, -1)
    labels = np.array([path.parent.name for path in paths])
    assert (labels[similarities.argmax(axis=1)] == labels).mean() >= 0.90


def test_a_bundle_of_another_size_and_with_a_mirror_is_compiled_as_such(default_bundle, tmp_path, photos):
    model, preprocessing = pretrained(
        preprocessing=dataclasses.replace(default_bundle.preprocessing, size_px=96, resize_px=96, mirror=True), dim=64
    )
    saved = save_bundle(model, tmp_path / "small", name="small")
    loaded = embedder.load(saved.directory, device="cpu")
    mirrored = [photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for photo in photos]
    assert loaded.embed(photos).shape == (len(photos), 64) and preprocessing.mirror
    assert (loaded.embed(photos) * loaded.embed(mirrored)).sum(axis=1).min() > 0.98
