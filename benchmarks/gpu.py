"""What a GPU does: eager torch beside what serves here, from pixels and from JPEG bytes, and training. Under 4 minutes.

    python benchmarks/gpu.py --json
    python benchmarks/gpu.py --tiny --json     the same steps at toy sizes, on any machine: figures mean nothing

Wants this folder's repository, torch 2.11 or newer, torchvision, timm, pillow, numpy and safetensors, and no network:
weights are random, for speed does not depend on them. Told, for each backbone: images/s in eager float32 and 16 bits,
compiled, and as `ml.model.fixed_batches` runs it, copies included; the time of a single image; the share of what the
GPU reaches in a large product; and images/s from JPEG bytes, decoded on the CPU and by nvJPEG, with how far the vectors
of both lie apart. Then NormSoftmax training steps, and NCCL with one rank. What fails or has no time left says why.
"""

import argparse
import io
import itertools
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import timm
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2 import functional as transforms

from ml.model.fixed_batches import SIZES, FixedBatches, half_forward
from ml.training.losses import NormSoftmax

BACKBONES = ("tf_efficientnet_lite0", "resnet50", "vit_small_patch16_224", "vit_base_patch16_224")
TRAINED = ("tf_efficientnet_lite0", "resnet50")
BUDGET_S = 220.0
COMPILES_S = 45.0  # what compiling one backbone may take
CLASSES = 1000


class Embedding(nn.Module):
    """uint8 [n, s, s, 3] to unit vectors, as ml.model.network has it."""

    def __init__(self, name: str, size_px: int) -> None:
        super().__init__()
        options = {"img_size": size_px} if name.startswith("vit") else {}
        self.backbone = timm.create_model(name, pretrained=False, num_classes=0, **options)
        self.dim = int(self.backbone.num_features)

    def forward(self, pixels: Tensor) -> Tensor:
        x = (pixels.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
        return functional.normalize(self.backbone(x).float(), dim=1)


class Bench:
    """One run on one device."""

    def __init__(self, device: torch.device, *, tiny: bool) -> None:
        self.device, self.tiny = device, tiny
        self.size_px = 32 if tiny else 224
        self.sizes = (1, 4) if tiny else SIZES
        self.batch = self.sizes[-1]
        self.repeats = 2 if tiny else 10
        self.began = time.monotonic()
        self.dtype = torch.bfloat16
        if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
            self.dtype = torch.float16
        self.pixels = np.random.default_rng(0).integers(0, 255, (self.batch, self.size_px, self.size_px, 3), np.uint8)
        self.threads = ThreadPoolExecutor(os.cpu_count() or 1)

    @property
    def left_s(self) -> float:
        return BUDGET_S - (time.monotonic() - self.began)

    def finish(self) -> None:
        """Waits for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, run: Callable[[], Any], repeats: int | None = None) -> float:
        """Median of a call, the device awaited, after two calls that do not count."""
        taken = []
        for number in range(2 + (repeats or self.repeats)):
            self.finish()
            began = time.perf_counter()
            run()
            self.finish()
            if number >= 2:
                taken.append(time.perf_counter() - began)
        return statistics.median(taken)

    def tried(self, measure: Callable[[], Any], needs_s: float = 10.0) -> Any:
        """What a measurement gives, or why there is none: the others go on."""
        if self.left_s < needs_s and not self.tiny:
            return {"skipped": "out of time"}
        try:
            return measure()
        except Exception as error:  # noqa: BLE001 - whatever a machine lacks
            return {"failed": f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"[:300]}

    def peak_flops(self) -> float:
        """FLOP/s of a large product in 16 bits: what this device reaches at best."""
        side = 256 if self.tiny else 8192
        one = torch.randn(side, side, device=self.device, dtype=self.dtype)
        return 2 * side**3 / self.seconds(lambda: one @ one)

    def forward(self, name: str, peak: float) -> dict[str, Any]:
        """Images/s of the forward pass: eager, compiled, ours."""
        model = Embedding(name, self.size_px).eval()
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            model(torch.from_numpy(self.pixels[:1]))
        flops = counter.get_total_flops()
        model.to(self.device)
        on_device = torch.from_numpy(self.pixels).to(self.device)
        report: dict[str, Any] = {"GFLOP an image": round(flops / 1e9, 2)}

        def rate(run: Callable[[], Any], repeats: int | None = None) -> float:
            return round(self.batch / self.seconds(run, repeats), 1)

        def eager(pixels: Tensor, *, is_half: bool) -> Tensor:
            with torch.inference_mode(), torch.autocast(self.device.type, self.dtype, enabled=is_half):
                vectors: Tensor = model(pixels)
                return vectors

        report["eager f32, images/s"] = self.tried(lambda: rate(lambda: eager(on_device, is_half=False), 3))
        report["eager 16 bits, images/s"] = self.tried(lambda: rate(lambda: eager(on_device, is_half=True)))
        report["eager 16 bits, one image, ms"] = self.tried(
            lambda: round(1000 * self.seconds(lambda: eager(on_device[:1], is_half=True)), 3)
        )
        expected = eager(on_device, is_half=False).cpu().numpy()
        half = half_forward(model, self.device, self.dtype)
        ours = FixedBatches(half, self.device, self.size_px, model.dim, self.sizes)
        several = np.concatenate([self.pixels] * (2 if self.tiny else 8))
        report["ours, images/s"] = self.tried(
            lambda: round(len(several) / self.seconds(lambda: ours(several), 3), 1), 20.0
        )
        report["ours, one image, ms"] = self.tried(lambda: round(1000 * self.seconds(lambda: ours(self.pixels[:1])), 3))
        report["lowest cosine with f32"] = self.tried(
            lambda: round(float((ours(self.pixels) * expected).sum(axis=1).min()), 5)
        )
        if isinstance(speed := report["ours, images/s"], float):
            report["ours, share of peak"] = round(speed * flops / peak, 3)
        report["from JPEG bytes"] = self.tried(lambda: self.from_jpeg(ours), 20.0)

        def compiled() -> dict[str, float]:
            began = time.perf_counter()
            fast = torch.compile(half, dynamic=False, backend="eager" if self.tiny else "inductor")
            with torch.inference_mode():
                fast(on_device)
                self.finish()
                took = time.perf_counter() - began
                bare = rate(lambda: fast(on_device))
            from_jpeg = report["from JPEG bytes"]
            rates = [value for value in from_jpeg.values() if isinstance(value, float)] if from_jpeg else []
            share = {"from JPEG bytes, share of it": round(max(rates) / bare, 3)} if rates else {}
            return {"images/s": bare, "compiling, s": round(took, 1), **share}

        self.compiles[name] = lambda: report.update({"compiled 16 bits, bare": self.tried(compiled, COMPILES_S)})
        return report

    def from_jpeg(self, ours: FixedBatches) -> dict[str, Any]:
        """Images/s from JPEG bytes: decoded by Pillow in threads, and by nvJPEG where torchvision has it."""
        photos = jpegs(8 if self.tiny else 512, 64 if self.tiny else 640)
        chunks = [photos[start : start + self.batch] for start in range(0, len(photos), self.batch)]

        def on_cpu() -> np.ndarray:
            # Chunks are handed out all at once: while one is embedded the threads decode the next.
            coming = [[self.threads.submit(decoded, photo, self.size_px) for photo in chunk] for chunk in chunks]
            return np.concatenate([ours(np.stack([each.result() for each in chunk])) for chunk in coming])

        def on_device() -> np.ndarray:
            return np.concatenate([ours(self._decoded_on_device(chunk)) for chunk in chunks])

        def rate(run: Callable[[], np.ndarray]) -> float:
            return round(len(photos) / self.seconds(run, 2), 1)

        report: dict[str, Any] = {"decoded on the CPU, images/s": rate(on_cpu)}
        report["decoded by torchvision on the device, images/s"] = self.tried(lambda: rate(on_device))
        report["highest cosine distance of the two"] = self.tried(
            lambda: round(float(1 - (on_cpu() * on_device()).sum(axis=1).min()), 5)
        )
        return report

    def _decoded_on_device(self, photos: Sequence[bytes]) -> Tensor:
        encoded = [torch.frombuffer(bytearray(photo), dtype=torch.uint8) for photo in photos]
        if self.device.type == "cuda":
            images = decode_jpeg(encoded, mode=ImageReadMode.RGB, device=self.device)
        else:
            images = [decode_jpeg(each, mode=ImageReadMode.RGB) for each in encoded]
        size = [self.size_px, self.size_px]
        small = [transforms.resize(each, size, antialias=True) for each in images]
        return torch.stack(small).permute(0, 2, 3, 1).contiguous()

    def training(self, name: str) -> dict[str, Any]:
        """NormSoftmax, full fine-tuning in 16 bits: images/s and memory."""
        batch = 4 if self.tiny else 128
        model = Embedding(name, self.size_px).train().to(self.device, memory_format=torch.channels_last)
        loss = NormSoftmax(CLASSES, model.dim).to(self.device)
        optimizer = torch.optim.AdamW([*model.parameters(), *loss.parameters()], lr=1e-4)
        pixels = torch.from_numpy(np.resize(self.pixels, (batch, *self.pixels.shape[1:]))).to(self.device)
        labels = torch.arange(batch, device=self.device) % CLASSES

        def step() -> None:
            with torch.autocast(self.device.type, self.dtype):
                value = loss(model(pixels), labels)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()

        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        report: dict[str, Any] = {"batch": batch, "images/s": round(batch / self.seconds(step), 1)}
        if self.device.type == "cuda":
            report["peak memory, GB"] = round(torch.cuda.max_memory_allocated(self.device) / 2**30, 2)
        return report

    def one_rank(self) -> dict[str, Any]:
        """A process group of one, as training on several GPUs makes it: a reduction and a step through it."""
        backend = "nccl" if self.device.type == "cuda" else "gloo"
        with tempfile.TemporaryDirectory() as folder:
            store = torch.distributed.FileStore(f"{folder}/store", 1)
            torch.distributed.init_process_group(backend, store=store, rank=0, world_size=1)
            try:
                numbers = torch.ones(1024 if self.tiny else 2**24, device=self.device)
                seconds = self.seconds(lambda: torch.distributed.all_reduce(numbers), 3)
                network = nn.Linear(64, 8).to(self.device)
                ids = [self.device] if self.device.type == "cuda" else None
                parallel = nn.parallel.DistributedDataParallel(network, device_ids=ids)
                parallel(torch.randn(16, 64, device=self.device)).sum().backward()
                self.finish()
                return {"backend": backend, "all_reduce, ms": round(1000 * seconds, 3), "step": "done"}
            finally:
                torch.distributed.destroy_process_group()

    def run(self) -> dict[str, Any]:
        """Everything, what matters most first."""
        self.compiles: dict[str, Callable[[], None]] = {}
        peak = self.peak_flops()
        report: dict[str, Any] = {
            **described(self.device),
            "tiny": self.tiny,
            "TFLOP/s of a product in 16 bits": round(peak / 1e12, 3),
            "forward": {},
            "training": {},
        }
        for name in BACKBONES:
            report["forward"][name] = self.tried(lambda name=name: self.forward(name, peak))
        for name in TRAINED:
            report["training"][name] = self.tried(lambda name=name: self.training(name))
        report["one rank"] = self.tried(self.one_rank)
        for compiled in self.compiles.values():  # last: each takes up to a minute
            compiled()
        self.threads.shutdown()
        report["seconds"] = round(time.monotonic() - self.began, 1)
        return report


def described(device: torch.device) -> dict[str, Any]:
    """Machine and versions."""
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    versions |= {"torchvision": torchvision.__version__, "timm": timm.__version__}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {"device": str(device), "name": name, "cores": os.cpu_count(), "versions": versions}


def jpegs(count: int, side: int) -> list[bytes]:
    """Photos as telephones and shops send them: smooth with some noise, a few different ones again and again."""
    random = np.random.default_rng(0)
    made = []
    for _ in range(min(count, 16)):
        coarse = Image.fromarray(random.integers(0, 255, (12, 16, 3), np.uint8))
        smooth = np.asarray(coarse.resize((side, side * 3 // 4), Image.Resampling.BICUBIC), np.int16)
        noisy = (smooth + random.integers(-6, 7, smooth.shape)).clip(0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noisy).save(buffer, "JPEG", quality=85)
        made.append(buffer.getvalue())
    return list(itertools.islice(itertools.cycle(made), count))


def decoded(photo: bytes, size_px: int) -> np.ndarray:
    """uint8 [s, s, 3], by Pillow, at a reduced scale where the JPEG allows."""
    with Image.open(io.BytesIO(photo), formats=["JPEG"]) as image:
        image.draft("RGB", (size_px, size_px))
        return np.asarray(image.convert("RGB").resize((size_px, size_px), Image.Resampling.BILINEAR))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tiny", action="store_true", help="toy sizes")
    parser.add_argument("--json", action="store_true", help="one object on stdout, on one line")
    options = parser.parse_args()
    if options.device == "cpu" and not options.tiny:
        parser.error("torch finds no GPU; --tiny runs the same steps at toy sizes")
    torch.manual_seed(0)
    report = Bench(torch.device(options.device), tiny=options.tiny).run()
    sys.stdout.write(json.dumps(report, indent=None if options.json else 2) + "\n")


if __name__ == "__main__":
    main()
