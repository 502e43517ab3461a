"""Photos to vectors on this machine: our embedder and its peers in the same run, and what the processor could do.

    python benchmarks/embedding.py [--photos DIR] [--count 128] [--rounds 5] [--json]
    python benchmarks/embedding.py --compile    with torch.compile, which takes minutes to get ready
    python benchmarks/embedding.py --quick      a few photos, one round: whether it runs, not how fast

All compute EfficientNet-Lite0 at 224 px. Contestants take turns in every round, so that what else the machine does
hits all alike; figures are medians over rounds, and ratios are medians of each round's ratio to ours.

    forward      prepared pixels to vectors
    end to end   JPEG bytes to vectors; "original" is one image at a time through torchvision's transforms and torch
                 eager, as the notebooks that this project carries on do it
    decode       JPEG bytes to the 224 px square
    limit        what the arithmetic units gave at best for products of matrices, over the network's multiplications;
                 most of its layers wait for memory
"""

import argparse
import contextlib
import io
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision import transforms

from deploy import demo_photos
from ml import cores, images
from ml.model import embedder
from ml.model.network import EmbeddingModel, pretrained
from ml.model.openvino_backend import OpenVinoNetwork, ov
from ml.model.save import save_bundle

GROCERY = Path(__file__).parents[2] / "shared" / "data" / "grocery" / "test"
Step = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder of JPEGs; the real groceries, or else the demo photos")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=128, help="how many photos")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    size = (
        Size(photos=8, alone=2, large=1, matrix_s=0.2, rounds=1)
        if options.quick
        else Size(options.count, alone=min(32, options.count), rounds=options.rounds)
    )
    torch.set_num_threads(cores.available())
    with tempfile.TemporaryDirectory() as scratch:
        photos = read(options.photos, Path(scratch), size.photos)
        report = measure(photos, Path(scratch), size, with_compile=options.compile)
    print(json.dumps(report, indent=2) if options.json else table(report))


@dataclass(frozen=True)
class Size:
    """How much is measured: photos in all and one at a time, large photos, seconds of matrix products, rounds."""

    photos: int = 128
    alone: int = 32
    large: int = 8
    matrix_s: float = 2.5
    rounds: int = 5


def read(folder: Path | None, scratch: Path, count: int) -> list[bytes]:
    """That many photos as they lie on disk."""
    if folder is None:
        folder = GROCERY
    if not folder.is_dir():
        folder = scratch / "photos"
        demo_photos.make(folder, products=16, views=8)
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    return [path.read_bytes() for path in paths[:: max(1, len(paths) // count)][:count]]


def measure(photos: list[bytes], scratch: Path, size: Size, *, with_compile: bool) -> dict[str, Any]:
    model, preprocessing = pretrained()
    saved = save_bundle(model, scratch / "bundle", name="lite0")
    began = time.perf_counter()
    embedder.load(saved.directory, device="cpu", cache_dir=scratch / "compiled")
    cold_s, began = time.perf_counter() - began, time.perf_counter()
    ours = embedder.load(saved.directory, device="cpu", cache_dir=scratch / "compiled")
    warm_s = time.perf_counter() - began

    decoders = ThreadPoolExecutor(cores.available())

    def prepared(data: bytes) -> np.ndarray:
        return preprocessing.apply(images.decode(data, min_side=preprocessing.min_side))

    def end_to_end() -> None:
        # As a worker does: while one batch is embedded the next is decoded.
        batches = [photos[i : i + 32] for i in range(0, len(photos), 32)]
        waiting = [decoders.submit(prepared, data) for data in batches[0]]
        for following in [*batches[1:], []]:
            pixels, waiting = waiting, [decoders.submit(prepared, data) for data in following]
            ours.embed_arrays(np.stack([pixel.result() for pixel in pixels]))

    pixels = np.stack(list(decoders.map(prepared, photos)))
    large = large_jpeg()
    groups: dict[str, dict[str, tuple[int, Step]]] = {
        "forward": {
            "ours": (len(pixels), lambda: ours.embed_arrays(pixels)),
            "ours, one at a time": (size.alone, lambda: [ours.embed_arrays(pixels[[i]]) for i in range(size.alone)]),
            **{
                name: (len(pixels[:64]), step)
                for name, step in forward_peers(model, ours, pixels[:64], scratch, with_compile=with_compile).items()
            },
        },
        "end to end": {
            "ours": (len(photos), end_to_end),
            "original: torchvision, torch eager": (size.alone, lambda: as_the_original(model, photos[: size.alone])),
        },
        "decode": {
            "ours": (len(photos), lambda: [prepared(data) for data in photos]),
            "ours, two threads": (len(photos), lambda: list(decoders.map(prepared, photos))),
        },
        "decode of 12 megapixels": {
            "ours": (size.large, lambda: [prepared(large) for _ in range(size.large)]),
            "Pillow, whole": (1, lambda: original_transform(Image.open(io.BytesIO(large)).convert("RGB"))),
        },
    }
    gflops = {"bf16": matrix_gflops(torch.bfloat16, size.matrix_s), "f32": matrix_gflops(torch.float32, size.matrix_s)}
    multiplications = count_multiplications(model, pixels[:1])
    processor = ov.Core().get_property("CPU", "FULL_DEVICE_NAME")
    return {
        "machine": f"{processor}, {cores.available()} cores, {platform.system()}",
        "embedder": ours.why,
        "start s": {"first": round(cold_s, 2), "from the cache": round(warm_s, 2)},
        "images/s": {group: race(contestants, size.rounds) for group, contestants in groups.items()},
        "limit": {
            "GFLOP an image": round(2 * multiplications / 1e9, 3),
            "GFLOP/s": {precision: round(rate) for precision, rate in gflops.items()},
            "images/s": {precision: round(rate * 1e9 / (2 * multiplications)) for precision, rate in gflops.items()},
        },
    }


def race(contestants: dict[str, tuple[int, Step]], rounds: int) -> dict[str, dict[str, float]]:
    """Images/s of each, and how many times as fast the first one is."""
    for _, step in contestants.values():
        step()
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, (count, step) in contestants.items():
            began = time.perf_counter()
            step()
            rates[name].append(count / (time.perf_counter() - began))
    first = next(iter(rates.values()))
    return {
        name: {
            "images/s": round(statistics.median(own), 1),
            "ours is times as fast": round(statistics.median(a / b for a, b in zip(first, own, strict=True)), 2),
        }
        for name, own in rates.items()
    }


def forward_peers(
    model: EmbeddingModel, ours: embedder.Embedder, pixels: np.ndarray, scratch: Path, *, with_compile: bool
) -> dict[str, Step]:
    tensors = torch.from_numpy(pixels).split(32)
    eager, last = model, pretrained()[0].to(memory_format=torch.channels_last)

    def run(network: nn.Module, *, bf16: bool) -> Step:
        def step() -> None:
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                for batch in tensors:
                    network(batch)

        return step

    peers: dict[str, Step] = {
        "torch eager, batches of 32": run(eager, bf16=False),
        "torch channels_last, batches of 32": run(last, bf16=False),
        "torch channels_last bf16, batches of 32": run(last, bf16=True),
    }
    if with_compile:
        peers["torch.compile channels_last, batches of 32"] = run(torch.compile(last), bf16=False)
        peers["torch.compile channels_last bf16, batches of 32"] = run(torch.compile(last), bf16=True)
    (ir,) = (scratch / "compiled").rglob("network.xml")
    core = ov.Core()
    for precision in ("bf16", "f32"):
        hints = {"INFERENCE_PRECISION_HINT": precision}
        request = core.compile_model(core.read_model(ir), "CPU", hints).create_infer_request()
        peers[f"OpenVINO {precision}, batches of 32"] = lambda request=request: [  # type: ignore[misc]
            request.infer({0: batch.numpy()}) for batch in tensors
        ]
    mirror = ours.bundle.preprocessing.mirror
    in_f32 = OpenVinoNetwork(core.read_model(ir), ours.bundle.load_head(), "f32", "", mirror=mirror)
    peers["ours in f32"] = lambda: in_f32(pixels)
    with contextlib.suppress(ImportError):
        peers["ONNX Runtime, batches of 32"] = onnx_runtime(model, tensors, scratch)
    return peers


def onnx_runtime(model: EmbeddingModel, tensors: tuple[torch.Tensor, ...], scratch: Path) -> Step:
    import onnxruntime

    path = scratch / "network.onnx"
    torch.onnx.export(model, (tensors[0],), path, input_names=["pixels"], dynamic_shapes=({0: torch.export.Dim("n")},))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda: [session.run(None, {"pixels": batch.numpy()}) for batch in tensors]


original_transform = transforms.Compose(
    [
        transforms.Resize(256, transforms.InterpolationMode.BICUBIC),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize([0.5] * 3, [0.5] * 3),
    ]
)


def as_the_original(model: EmbeddingModel, photos: list[bytes]) -> None:
    for data in photos:
        with torch.inference_mode():
            model.embed(original_transform(Image.open(io.BytesIO(data)).convert("RGB"))[None])


def large_jpeg() -> bytes:
    """A photo of 12 megapixels: soft shapes with fine noise, about 4 MB."""
    rng = np.random.default_rng(0)
    soft = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).resize((4000, 3000), Image.BICUBIC)
    noisy = np.asarray(soft, np.int16) + rng.integers(-6, 7, (3000, 4000, 1))
    buffer = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def matrix_gflops(dtype: torch.dtype, seconds: float, side: int = 512) -> float:
    """The best product of square matrices in some seconds.

    Each takes a millisecond: short enough to meet a moment in which nothing else runs, where large ones never do.
    """
    left, right = torch.randn(side, side).to(dtype), torch.randn(side, side).to(dtype)
    least, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        left @ right
        least = min(least, time.perf_counter() - began)
    return 2 * side**3 / least / 1e9


def count_multiplications(model: EmbeddingModel, pixels: np.ndarray) -> int:
    """Of all convolutions and linear maps, for one image."""
    total = 0

    def count(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        weight = layer.weight
        total += output[0].numel() * weight[0].numel()

    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.inference_mode():
        model(torch.from_numpy(pixels))
    for hook in hooks:
        hook.remove()
    return total


def table(report: dict[str, Any]) -> str:
    """The report in columns, with each group's best peer in words."""
    lines = [report["machine"], report["embedder"], f"start: {report['start s']} s"]
    for group, contestants in report["images/s"].items():
        lines += ["", f"{group:<50}{'images/s':>10}{'ours is':>12}"]
        for name, figures in contestants.items():
            lines.append(f"  {name:<48}{figures['images/s']:>10.1f}{figures['ours is times as fast']:>10.2f} x")
        peers = {name: figures for name, figures in contestants.items() if not name.startswith("ours")}
        if peers:
            best = max(peers, key=lambda name: peers[name]["images/s"])
            lines.append(f"  {peers[best]['ours is times as fast']:.2f} times the best peer, {best}")
    limit = report["limit"]
    lines += ["", f"limit ({limit['GFLOP an image']} GFLOP an image){'GFLOP/s':>18}{'images/s':>16}"]
    lines += [
        f"  {precision:<32}{rate:>14}{limit['images/s'][precision]:>16}" for precision, rate in limit["GFLOP/s"].items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
