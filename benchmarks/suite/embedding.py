"""Photos to vectors: ours beside what others do with the same network, and what the processor allows."""

import functools
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from PIL import Image

from benchmarks.embedding import count_multiplications, matrix_gflops, original_transform
from benchmarks.suite.photos import TWELVE_MEGAPIXELS, folder_of, photos
from benchmarks.suite.record import ROOT, Curve, Effort, Found, Race, race
from ml import cores, images
from ml.model import embedder
from ml.model.default import write_default
from ml.model.embedder import Embedder
from ml.model.network import EmbeddingModel, pretrained

_BATCH = 32
_SIDES = ((160, 160), (348, 348), (1000, 1000), (2000, 2000), TWELVE_MEGAPIXELS)
_KEPT: list["Contest"] = []
LIMIT = "limit: decode and forward, nothing else"

MISSING = {
    "torch.compile": "takes minutes to get ready; `python benchmarks/embedding.py --compile` measures it",
    "ONNX Runtime in bf16": "its CPU provider has no convolutions in bf16; OpenVINO's stand for batches in bf16",
    "imagededup's own MobileNet": "its weights come from a hub; its loop ran with the same network as the others",
}


def measure(effort: Effort) -> Found:
    """Pixels to vectors, JPEG to vectors, and cost by image size."""
    torch.set_num_threads(cores.available())
    with tempfile.TemporaryDirectory() as scratch:
        bundle = write_default(Path(scratch) / "bundle")
        assert bundle.network is not None
        ours = embedder.load(bundle.directory, device="cpu", cache_dir=Path(scratch) / "compiled")
        onnx = onnxruntime.InferenceSession(bundle.network.read_bytes(), providers=["CPUExecutionProvider"])
        contest = Contest(ours, pretrained()[0], onnx, Path(scratch))
        jpegs = photos(effort.of(64, 8))
        pixels = np.stack([contest.prepared(data) for data in jpegs])
        same_vectors(contest, pixels)
        forward, limits = contest.forward(pixels, effort)
        curve = contest.by_size(effort)
        # Last, for the loader forks; and the engines stay until the process ends: freeing them has ended it before.
        end_to_end = contest.end_to_end(jpegs, effort)
        _KEPT.append(contest)
    figures = limits | {"forward, of the limit in bf16": forward.median("ours") / limits["limit in bf16, images/s"]}
    figures |= {"JPEG to vector, of the limit": end_to_end.ratio(LIMIT)}
    return Found({"forward": forward, "JPEG to vector": end_to_end}, {"image-size": curve}, figures, MISSING)


def same_vectors(contest: "Contest", pixels: np.ndarray) -> None:
    """Whoever is compared computes the same: within 0.001 of float32 torch."""
    with torch.inference_mode():
        expected = contest.model(torch.from_numpy(pixels)).numpy()
    cosines = (contest.ours.embed_arrays(pixels) * expected).sum(axis=1)
    assert cosines.min() > 1 - 2e-3 and cosines.mean() > 1 - 1e-3, cosines


class Contest:
    """Ours and its peers, all with one network."""

    def __init__(
        self, ours: Embedder, model: EmbeddingModel, onnx: onnxruntime.InferenceSession, scratch: Path
    ) -> None:
        self.ours, self.model, self.onnx, self.scratch = ours, model, onnx, scratch
        self.threads = ThreadPoolExecutor(cores.available())

    def prepared(self, data: bytes) -> np.ndarray:
        """uint8 [224, 224, 3], as a worker makes it."""
        wanted = self.ours.preprocessing
        return wanted.apply(images.decode(data, min_side=wanted.min_side))

    def forward(self, pixels: np.ndarray, effort: Effort) -> tuple[Race, dict[str, float]]:
        """Pixels to vectors."""
        few = pixels[: effort.of(16, 4)]
        last = pretrained()[0].to(memory_format=torch.channels_last)
        contestants: dict[str, tuple[int, Callable[[], Any]]] = {
            "ours": (len(pixels), lambda: self.ours.embed_arrays(pixels)),
            "ours, one at a time": (len(few), lambda: [self.ours.embed_arrays(row[None]) for row in few]),
            **{
                f"OpenVINO {name}, batches of 32": (len(pixels), functools.partial(_in_batches, step, pixels))
                for name, step in _openvino(self.scratch)
            },
            "ONNX Runtime float32, batches of 32": (len(pixels), lambda: _in_batches(self.in_onnx, pixels)),
            "ONNX Runtime float32, one at a time": (len(few), lambda: [self.in_onnx(row[None]) for row in few]),
            "torch channels_last bf16, batches of 32": (len(pixels), lambda: _in_torch(last, pixels, bf16=True)),
            "torch eager, batches of 32": (len(few), lambda: _in_torch(self.model, few)),
        }
        found = race(
            {name: lambda step=step: _figure(step) for name, (_, step) in contestants.items()},  # type: ignore[misc]
            effort,
            what="pixels to vectors, EfficientNet-Lite0 at 224 px",
            unit="images/s",
            counts={name: count for name, (count, _) in contestants.items()},
        )
        seconds = 0.2 if effort.is_quick else 2.0
        flop = 2 * count_multiplications(self.model, pixels[:1])
        rates = {"bf16": matrix_gflops(torch.bfloat16, seconds), "float32": matrix_gflops(torch.float32, seconds)}
        return found, {f"limit in {name}, images/s": rate * 1e9 / flop for name, rate in rates.items()}

    def end_to_end(self, jpegs: list[bytes], effort: Effort) -> Race:
        """JPEG to vector."""
        few = jpegs[: effort.of(16, 4)]
        folder = folder_of(jpegs, self.scratch / "jpegs")
        contestants: dict[str, tuple[int, Callable[[], Any]]] = {
            "ours": (len(jpegs), lambda: self.as_a_worker(jpegs)),
            LIMIT: (len(jpegs), lambda: self.nothing_else(jpegs)),
            "the original's loop, one at a time": (len(few), lambda: self.as_the_original(few)),
            "torch eager, DataLoader with 2 processes": (len(jpegs), lambda: self.as_a_loader(folder)),
            "ONNX Runtime, one at a time": (len(few), lambda: self.as_immich(few)),
            "ONNX Runtime, batches of 32": (len(jpegs), lambda: self.in_onnx_batches(jpegs)),
            "imagededup's CNN, the same network": (len(jpegs), lambda: self.as_imagededup(folder)),
        }
        return race(
            {name: lambda step=step: _figure(step) for name, (_, step) in contestants.items()},  # type: ignore[misc]
            effort,
            what="JPEGs of 348 px to vectors",
            unit="images/s",
            limit=LIMIT,
            counts={name: count for name, (count, _) in contestants.items()},
        )

    def by_size(self, effort: Effort) -> Curve:
        """Milliseconds of both cores for a photo."""
        series: dict[str, list[tuple[float, float]]] = {"ours": [], "the original's loop": [], LIMIT: []}
        steps = {"ours": self.as_a_worker, "the original's loop": self.as_the_original, LIMIT: self.nothing_else}
        for size in _SIDES[: effort.of(len(_SIDES), 2)]:
            megapixels = size[0] * size[1] / 1e6
            jpegs = photos(effort.of(16 if megapixels < 3 else 4, 2), size)
            for name, step in steps.items():
                took = []
                for _ in range(effort.of(3, 1)):
                    began = time.perf_counter()
                    step(jpegs)
                    took.append(time.perf_counter() - began)
                series[name].append((megapixels, 1000 * min(took) / len(jpegs)))
        return Curve("a JPEG to its vector", "megapixels", "ms", series)

    def as_a_worker(self, jpegs: list[bytes]) -> None:
        """While one batch is embedded the next is decoded."""
        batches = [jpegs[start : start + _BATCH] for start in range(0, len(jpegs), _BATCH)]
        waiting = [self.threads.submit(self.prepared, data) for data in batches[0]]
        for following in [*batches[1:], []]:
            pixels, waiting = waiting, [self.threads.submit(self.prepared, data) for data in following]
            self.ours.embed_arrays(np.stack([pixel.result() for pixel in pixels]))

    def nothing_else(self, jpegs: list[bytes]) -> None:
        """All decoded on all cores, then all embedded."""
        self.ours.embed_arrays(np.stack(list(self.threads.map(self.prepared, jpegs))))

    def as_the_original(self, jpegs: list[bytes]) -> None:
        """One image at a time through torchvision's transforms and torch eager, as the scenario's notebooks do."""
        for data in jpegs:
            with torch.inference_mode():
                self.model.embed(original_transform(Image.open(io.BytesIO(data)).convert("RGB"))[None])

    def as_a_loader(self, folder: Path) -> None:
        """As img2vec and clip-retrieval do it."""
        paths = sorted(folder.rglob("*.jpg"))
        loader = torch.utils.data.DataLoader(_Files(paths), batch_size=_BATCH, num_workers=2)
        with torch.inference_mode():
            for batch in loader:
                self.model.embed(batch)

    def as_immich(self, jpegs: list[bytes]) -> None:
        """Each photo decoded by Pillow and computed alone."""
        for data in jpegs:
            self.in_onnx(_cut(data)[None])

    def in_onnx_batches(self, jpegs: list[bytes]) -> None:
        """Decoded on all cores by Pillow, computed in batches."""
        for start in range(0, len(jpegs), _BATCH):
            self.in_onnx(np.stack(list(self.threads.map(_cut, jpegs[start : start + _BATCH]))))

    def as_imagededup(self, folder: Path) -> float:
        """Its CNN encodes a folder: images per second."""
        command = [sys.executable, "-m", "benchmarks.suite.imagededup_peer", str(folder)]
        return float(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout)

    def in_onnx(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 [n, 224, 224, 3] to features."""
        name = self.onnx.get_inputs()[0].name
        return self.onnx.run(None, {name: pixels})[0]  # type: ignore[no-any-return]


class _Files(torch.utils.data.Dataset):  # type: ignore[type-arg]
    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self._paths[index]) as image:
            return original_transform(image.convert("RGB"))  # type: ignore[no-any-return]


def _cut(data: bytes) -> np.ndarray:
    """uint8 [224, 224, 3] by Pillow, as others do it."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize((round(scale * image.width), round(scale * image.height)), Image.Resampling.BICUBIC)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    return np.asarray(image.crop((left, top, left + 224, top + 224)))


def _openvino(scratch: Path) -> Iterator[tuple[str, Callable[[np.ndarray], Any]]]:
    """Our converted network in OpenVINO as it comes."""
    import openvino

    (ir,) = (scratch / "compiled").rglob("network.xml")
    core = openvino.Core()
    for name, precision in (("bf16", "bf16"), ("float32", "f32")):
        model = core.compile_model(core.read_model(ir), "CPU", {"INFERENCE_PRECISION_HINT": precision})
        request = model.create_infer_request()
        yield name, lambda pixels, request=request: request.infer({0: pixels})  # type: ignore[misc]


def _in_batches(step: Callable[[np.ndarray], Any], pixels: np.ndarray) -> None:
    for start in range(0, len(pixels), _BATCH):
        step(pixels[start : start + _BATCH])


def _in_torch(model: torch.nn.Module, pixels: np.ndarray, *, bf16: bool = False) -> None:
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        _in_batches(lambda some: model(torch.from_numpy(some)), pixels)


def _figure(step: Callable[[], Any]) -> float | None:
    """What a contestant measured itself; what others return are results."""
    made = step()
    return made if isinstance(made, float) else None
