"""Figures of retrieval beside pytorch-metric-learning's AccuracyCalculator: the same figures, seconds, memory.

    python benchmarks/metrics.py                       10,000 x 512, 100 classes
    python benchmarks/metrics.py --rows 60000 --only ours

Medians of alternating runs; processor seconds hardly depend on what else the machine does. `products` is the
multiplication alone, below which nothing gets.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from benchmarks.processes import peak_mb
from ml.evaluation.metrics import evaluate_retrieval, mean_average_precision_at_r

BOTH = ("precision_at_1", "r_precision", "mean_average_precision_at_r")


def theirs(include: tuple[str, ...], vectors: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """What AccuracyCalculator says, with the neighbours that these figures need: by default it ranks everything."""
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    calculator = AccuracyCalculator(include=include, k="max_bin_count", device=torch.device("cpu"))
    return dict(calculator.get_accuracy(vectors, labels))


def ours(vectors: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """The same figures of ours."""
    found = evaluate_retrieval(vectors, labels, ks=(1,), whole_ranking=False)
    return dict(zip(BOTH, (found.precision[1], found.r_precision, found.map_at_r), strict=True))


def products(vectors: torch.Tensor) -> None:
    """The multiplications alone, of each pair once."""
    for start in range(0, len(vectors), 512):
        vectors[start : start + 512] @ vectors[start:].T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=("ours",), help="without the peer, for memory")
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(options.classes, (options.rows,), generator=generator)
    means = torch.randn(options.classes, options.dim, generator=generator)
    noise = torch.randn(options.rows, options.dim, generator=generator)
    vectors = functional.normalize(means[labels] + 2 * noise, dim=1)
    runs: dict[str, Callable[[], Any]] = {
        "products": lambda: products(vectors),
        "ours, what both report": lambda: ours(vectors, labels),
        "ours, mAP@R alone": lambda: mean_average_precision_at_r(vectors, labels),
        "ours, everything": lambda: evaluate_retrieval(vectors, labels),
    }
    if not options.only:
        runs["theirs, what both report"] = lambda: theirs(BOTH, vectors, labels)
        runs["theirs, mAP@R alone"] = lambda: theirs(BOTH[2:], vectors, labels)
        for name, value in ours(vectors, labels).items():
            assert abs(value - theirs(BOTH, vectors, labels)[name]) < 1e-5, name
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(options.repeats):
        for name, run in runs.items():
            began = time.perf_counter(), time.process_time()
            run()
            seconds[name].append((time.perf_counter() - began[0], time.process_time() - began[1]))
    report = {
        name: dict(
            zip(
                ("wall", "processor"),
                (round(statistics.median(each), 2) for each in zip(*taken, strict=True)),
                strict=True,
            )
        )
        for name, taken in seconds.items()
    }
    peak = (peak_mb(os.getpid()) or 0.0) / 2**10
    sys.stdout.write(json.dumps({"rows": options.rows, "dim": options.dim, "seconds": report, "peak_gb": peak}) + "\n")


if __name__ == "__main__":
    main()
