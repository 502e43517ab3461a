"""mAP@R of several sets of vectors of the same labelled images. Runs in a process of its own: it needs torch."""

import json
from pathlib import Path

import numpy as np
import torch

from ml.evaluation.metrics import mean_average_precision_at_r


def measure(folder: str) -> None:
    """Reads `vectors.npz` (`labels` int64 [n], and any number of float32 [n, d]) and writes `map_at_r.json`."""
    arrays = np.load(Path(folder) / "vectors.npz", allow_pickle=False)
    labels = torch.from_numpy(arrays["labels"])
    figures = {
        name: round(mean_average_precision_at_r(torch.from_numpy(arrays[name]), labels), 4)
        for name in arrays.files
        if name != "labels"
    }
    (Path(folder) / "map_at_r.json").write_text(json.dumps(figures))
