"""What a sweep saves: ASHA against the whole grid, and shared images against separate runs.

    python benchmarks/sweep.py            the photos of ../shared/data/grocery/train: about an hour on two cores
    python benchmarks/sweep.py --quick    fewer classes, smaller photos, fewer epochs: a few minutes
    python benchmarks/sweep.py --only sharing

1. The same 12 settings twice, once each to its end and once under ASHA. Reported: the share of training seconds that
   ASHA took, and how many points of held-out mAP@R its winner lies below the grid's best, as the full grid measured it.
2. Six trials of the preset `fast` in one sweep, and as six runs of `lookalike train` one after the other. Reported: how
   many times faster the sweep was.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from ml import cores
from ml.data import datasets
from ml.data.datasets import Dataset
from ml.ray_cluster.session import session
from ml.sweeps import search_space
from ml.sweeps.plan import SweepPlan
from ml.sweeps.record import Record
from ml.sweeps.run import SweepResult, sweep
from ml.training.config import TrainConfig, preset_config
from ml.training.lineage import device_name

GROCERY = Path(__file__).resolve().parents[2] / "shared" / "data" / "grocery" / "train"
SETTINGS = ("lr=3e-5,1e-4,3e-4,1e-3", "temperature=0.02,0.05,0.2")  # 12, from too little to too much
SHARED = ("dim=64,128,256", "shrinkage=0.5,1.0")  # 6 that differ in the head alone
GOALS = {"asha_share": 0.40, "asha_points": 1.0, "sharing": 1.5}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=GROCERY)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=["asha", "sharing"])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"there is no {options.data}: name a folder of labelled photos with --data")
    data = datasets.load(options.data)
    if options.quick:
        data = data.subset(np.flatnonzero(data.labels < 16))
    found: dict[str, Any] = {"machine": f"{device_name()}, {cores.available()} cores, {platform.system()}"}
    found |= {"photos": len(data), "classes": len(data.classes), "quick": options.quick}
    with tempfile.TemporaryDirectory(prefix="lookalike-benchmark-") as folder:
        if options.only != "sharing":
            found |= asha(data, Path(folder), is_quick=options.quick)
        if options.only != "asha":
            found |= sharing(data, options.data, Path(folder), is_quick=options.quick)
    print(json.dumps(found, indent=2))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")


def asha(data: Dataset, folder: Path, *, is_quick: bool) -> dict[str, Any]:
    """The grid to its end, and under ASHA."""
    size = {"train_px": 64, "test_px": 96} if is_quick else {"train_px": 128, "test_px": 160}
    base = preset_config("accurate", holdout=0.25, epochs=8, mirror=False, **size)
    results: dict[str, SweepResult] = {}
    with session():
        for scheduler in ("none", "asha"):
            plan = SweepPlan(search_space.parse(SETTINGS, TrainConfig), base, search="grid", scheduler=scheduler)
            results[scheduler] = sweep(plan, [data], Record.new(folder / scheduler, plan.to_json()), on_change=_say)
    full, early = results["none"], results["asha"]
    # Both winners by the full grid's own measurement: what matters is which setting ASHA chose.
    measured = {json.dumps(one.settings, sort_keys=True): one.map_at_r for one in full.record.configurations()}
    chosen = measured[json.dumps(early.best.settings, sort_keys=True)]
    seconds = {name: sum(t.seconds for t in result.record.trials.values()) for name, result in results.items()}
    epochs = {name: sum(len(t.history) for t in result.record.trials.values()) for name, result in results.items()}
    return {
        "settings": len(measured),
        "grid_best": {"settings": full.best.settings, "map@r": full.best.map_at_r},
        "asha_best": {"settings": early.best.settings, "map@r": early.best.map_at_r},
        "asha_points_below": round(100 * (full.best.map_at_r - chosen), 2),
        "asha_share_of_seconds": round(seconds["asha"] / seconds["none"], 3),
        "asha_share_of_epochs": round(epochs["asha"] / epochs["none"], 3),
        "wall_s": {name: round(result.seconds) for name, result in results.items()},
        "asha_goals": GOALS,
    }


def sharing(data: Dataset, source: Path, folder: Path, *, is_quick: bool) -> dict[str, Any]:
    """Six trials in one sweep, Ray's start included, against six runs of the command line."""
    size = {"test_px": 128} if is_quick else {}
    base = preset_config("fast", holdout=0.25, **size)
    plan = SweepPlan(search_space.parse(SHARED, TrainConfig), base, search="grid", scheduler="none")
    began = time.perf_counter()
    shared = sweep(plan, [data], Record.new(folder / "shared", plan.to_json()), on_change=_say)
    together = time.perf_counter() - began
    photos = _as_csv(data, folder / f"{source.name}.csv")
    apart = []
    for setting in search_space.grid(plan.space):
        began = time.perf_counter()
        subprocess.run(
            [
                sys.executable,
                "-c",
                _ONE_RUN,
                str(photos),
                str(folder / "apart"),
                json.dumps(setting | {"holdout": 0.25} | size),
            ],
            check=True,
        )
        apart.append(time.perf_counter() - began)
    return {
        "sharing_trials": len(apart),
        "sharing_together_s": round(together, 1),
        "sharing_apart_s": round(sum(apart), 1),
        "sharing_one_run_s": round(statistics.median(apart), 1),
        "sharing_times_faster": round(sum(apart) / together, 2),
        "sharing_decoded": shared.decoded,
    }


# A run in a process of its own, as a person would start it, without registering the model.
_ONE_RUN = """
import json, sys
from pathlib import Path
from ml import cores
from ml.data import datasets
from ml.training.config import preset_config
from ml.training.train import train
train(preset_config("fast", **json.loads(sys.argv[3])), datasets.load(Path(sys.argv[1])), Path(sys.argv[2]))
"""


def _as_csv(data: Dataset, file: Path) -> Path:
    rows = [f'"{path}","{data.classes[label]}"' for path, label in zip(data.paths, data.labels, strict=True)]
    file.write_text("path,label\n" + "\n".join(rows) + "\n", "utf-8")
    return file


def _say(record: Record) -> None:
    ended = [trial for trial in record.trials.values() if trial.state != "running"]
    print(f"{record.directory.name}: {len(ended)} trials ended", file=sys.stderr)


if __name__ == "__main__":
    main()
