"""Vectors of a worker that has no torch beside torch's own, on real photos of labelled classes.

    python benchmarks/serving_path.py [--photos DIR] [--count 600]
    python benchmarks/serving_path.py --quick    a few drawn photos: whether it runs

The default model is written without torch and loaded as a worker loads it, in the precision that it chooses; the same
ONNX is computed once more in float32. torch builds the network from the bundle's safetensors, in float32. Each set of
vectors is compared with torch's: cosine of each photo's two vectors, and mAP@R of all photos in percent. Prints JSON.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch

from deploy import demo_photos
from ml import images
from ml.evaluation.metrics import mean_average_precision_at_r
from ml.model import embedder, openvino_backend
from ml.model.default import write_default
from ml.model.torch_backend import TorchNetwork

GROCERY = Path(__file__).parents[2] / "shared" / "data" / "grocery" / "train"
_BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="one folder per class; the real groceries, or else the demo photos")
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.photos or (GROCERY if GROCERY.exists() and not options.quick else None)
        if folder is None:
            folder = Path(scratch) / "photos"
            demo_photos.make(folder)
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
        # A few neighbours in the list show the same class, so that there is a mAP@R at all.
        chosen = paths[:24] if options.quick else spread(paths, options.count)
        print(json.dumps(measure(chosen, Path(scratch)), indent=2))


def spread(paths: list[Path], count: int) -> list[Path]:
    """So many photos of a sorted list, spread evenly over its classes."""
    return [paths[round(at)] for at in np.linspace(0, len(paths) - 1, min(count, len(paths)))]


def measure(paths: list[Path], scratch: Path) -> dict[str, object]:
    bundle = write_default(scratch / "model")
    worker = embedder.load(bundle.directory, device="cpu")
    preprocessing = bundle.preprocessing
    decoded = (images.decode(path.read_bytes(), min_side=preprocessing.min_side) for path in paths)
    pixels = np.stack([preprocessing.apply(image) for image in decoded])
    assert bundle.network is not None
    head, network, in_torch = bundle.load_head(), bundle.network.read_bytes(), TorchNetwork.on_cpu(bundle, "compared")
    batches = [pixels[start : start + _BATCH] for start in range(0, len(pixels), _BATCH)]
    vectors = {
        "torch f32": np.concatenate([in_torch(batch) for batch in batches]),
        "onnx f32": np.concatenate([head(openvino_backend.features(network, batch)[None]) for batch in batches]),
        f"worker: {worker.why}": np.concatenate([worker.embed_arrays(batch) for batch in batches]),
    }
    labels = torch.from_numpy(np.unique([path.parent.name for path in paths], return_inverse=True)[1])
    figures = {}
    for name, rows in vectors.items():
        cosines = (rows * vectors["torch f32"]).sum(axis=1)
        figures[name] = {
            "mean cosine": round(float(cosines.mean()), 6),
            "lowest cosine": round(float(cosines.min()), 6),
            "mAP@R": round(100 * mean_average_precision_at_r(torch.from_numpy(rows), labels), 3),
        }
    return {"photos": len(paths), "classes": int(labels.max()) + 1, "against torch": figures}


if __name__ == "__main__":
    main()
