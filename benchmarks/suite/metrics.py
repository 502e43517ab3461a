"""Figures of retrieval beside pytorch-metric-learning's AccuracyCalculator, and the memory of a large gallery's."""

import subprocess
import sys

import torch
from torch.nn import functional

from benchmarks import metrics
from benchmarks.suite.record import ROOT, Effort, Found, race
from ml.evaluation.metrics import evaluate_retrieval, mean_average_precision_at_r

_LARGE = """
import os, sys, torch
from torch.nn import functional
from benchmarks.processes import peak_mb
from ml.evaluation.metrics import evaluate_retrieval
rows = int(sys.argv[1])
vectors = functional.normalize(torch.randn(rows, 512, generator=torch.Generator().manual_seed(0)), dim=1)
evaluate_retrieval(vectors, torch.arange(rows) % 600, whole_ranking=False)
print(peak_mb(os.getpid()) / 2**10)
"""

MISSING = {
    "open-metric-learning": "pip finds no set of packages that suits both it and the versions that we pin",
    "the whole ranking of 60,000": "takes minutes: `python benchmarks/metrics.py --rows 60000 --only ours`",
}


def measure(effort: Effort) -> Found:
    """Both are asked for the same figures, which must be the same."""
    count = effort.of(10_000, 600)
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(100, (count,), generator=generator)
    means, noise = (torch.randn(rows, 512, generator=generator) for rows in (100, count))
    vectors = functional.normalize(means[labels] + 2 * noise, dim=1)
    mine, others = metrics.ours(vectors, labels), metrics.theirs(metrics.BOTH, vectors, labels)
    assert all(abs(mine[name] - others[name]) < 1e-5 for name in mine), (mine, others)
    limit = "limit: the product of each pair once"
    both = race(
        {
            "ours": lambda: _done(metrics.ours(vectors, labels)),
            limit: lambda: _done(metrics.products(vectors)),
            "AccuracyCalculator": lambda: _done(metrics.theirs(metrics.BOTH, vectors, labels)),
            "ours, with mAP over whole rankings and all else": lambda: _done(evaluate_retrieval(vectors, labels)),
        },
        effort,
        what=f"recall@1, R-precision and mAP@R of {count:,} x 512",
        unit="s",
        limit=limit,
    )
    alone = race(
        {
            "ours": lambda: _done(mean_average_precision_at_r(vectors, labels)),
            limit: lambda: _done(metrics.products(vectors)),
            "AccuracyCalculator": lambda: _done(metrics.theirs(metrics.BOTH[2:], vectors, labels)),
        },
        effort,
        what=f"mAP@R alone of {count:,} x 512",
        unit="s",
        limit=limit,
    )
    rows = effort.of(60_000, 1000)
    told = subprocess.run(
        [sys.executable, "-c", _LARGE, str(rows)], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    figures = {
        "over AccuracyCalculator": 1 / both.ratio("AccuracyCalculator"),
        "mAP@R alone, over AccuracyCalculator": 1 / alone.ratio("AccuracyCalculator"),
        f"{rows:,} rows, GB": float(told.stdout),
    }
    return Found({"all": both, "mAP@R": alone}, figures=figures, missing=MISSING)


def _done(_: object) -> None:
    """A contestant's result, which is none of its figures."""
