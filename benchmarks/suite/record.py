"""What a part of the suite found, in one format: the page and the plots are made of it alone.

Contestants take turns in every round, so that what else the machine does hits all alike. Figures are medians over
rounds, and a ratio is the median of each round's ratio.
"""

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import msgspec

from ml import cores

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = (
    *("torch", "torchvision", "openvino", "onnxruntime", "numpy", "pillow", "qdrant-edge-py", "celery"),
    *("faiss-cpu", "hnswlib", "usearch", "imagededup", "pytorch-metric-learning"),
)


@dataclass(frozen=True)
class Race:
    """One task, done by several. The first contestant is ours.

    Args:
        what: the task, in a line.
        unit: of the figures.
        rounds: contestant -> its figure of each round.
        limit: the contestant that is what the machine allows, with nothing around it; None: there is none.
        is_rate: more is better.
        extra: contestant -> column -> a figure that was measured once.
    """

    what: str
    unit: str
    rounds: dict[str, list[float]]
    limit: str | None = None
    is_rate: bool = False
    extra: dict[str, dict[str, float | None]] = field(default_factory=dict)

    def median(self, name: str) -> float:
        """A contestant's figure."""
        return statistics.median(self.rounds[name])

    def ratio(self, name: str) -> float:
        """How many times as good as this one the first is, where 1 is level."""
        ours = next(iter(self.rounds.values()))
        pairs = zip(ours, self.rounds[name], strict=True)
        return statistics.median(a / b if self.is_rate else b / a for a, b in pairs)


@dataclass(frozen=True)
class Curve:
    """Cost against size. `series`: name -> points (size, cost)."""

    what: str
    x: str
    y: str
    series: dict[str, list[tuple[float, float]]]


@dataclass(frozen=True)
class Found:
    """What a part returns.

    Args:
        races: by a short name.
        curves: by a short name, which the plot's file gets.
        figures: by a short name: what goals are compared with.
        missing: what was not measured -> why.
    """

    races: dict[str, Race] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What is kept of a part. `load`: of the machine before it began and when it ended."""

    part: str
    at: str
    commit: str
    machine: str
    packages: dict[str, str]
    load: tuple[float, float]
    seconds: float
    is_quick: bool
    found: Found


@dataclass(frozen=True)
class Effort:
    """How much is measured: rounds of a race, and the share of the full amount of work in each."""

    rounds: int = 5
    is_quick: bool = False

    def of(self, full: int, quick: int) -> int:
        """An amount."""
        return quick if self.is_quick else full


def race(
    contestants: Mapping[str, Callable[[], float | None]],
    effort: Effort,
    *,
    what: str,
    unit: str,
    limit: str | None = None,
    counts: Mapping[str, int] | None = None,
    is_rate: bool = False,
) -> Race:
    """Lets them take turns, once for nothing and then in each round.

    Args:
        contestants: the first is ours. What one returns is its figure; None: the seconds that it took count.
        counts: contestant -> how many items it works off; figures are then items per second, as must be what
            one returns.
        is_rate: of figures that contestants return, more is better.
    """
    rounds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(effort.rounds + 1):
        for name, step in contestants.items():
            began = time.perf_counter()
            figure = step()
            took = time.perf_counter() - began
            if counts is not None and figure is None:
                figure = counts[name] / took
            if number:
                rounds[name].append(took if figure is None else float(figure))
    return Race(what, unit, rounds, limit, is_rate=is_rate or counts is not None)


def keep(part: str, found: Found, effort: Effort, load: float, seconds: float, folder: Path = RESULTS) -> Path:
    """Writes a part's result; returns its file."""
    result = Result(
        part=part,
        at=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        commit=_commit(),
        machine=f"{_processor()}, {cores.available()} cores, {platform.system()}, Python {platform.python_version()}",
        packages={name: _version(name) for name in PACKAGES},
        load=(round(load, 1), round(os.getloadavg()[0], 1)),
        seconds=round(seconds),
        is_quick=effort.is_quick,
        found=found,
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{part}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(_rounded(msgspec.to_builtins(result)))) + b"\n")
    return path


def read(part: str, folder: Path = RESULTS) -> Result | None:
    """The last result of a part."""
    path = folder / f"{part}.json"
    return msgspec.json.decode(path.read_bytes(), type=Result) if path.exists() else None


def is_of_this_commit(result: Result | None) -> bool:
    """Whether a full result is what the code as it is now gave."""
    return result is not None and not result.is_quick and result.commit == _commit()


def _rounded(value: object) -> object:
    """Floats to four significant digits: what is measured is no finer."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value


def _commit() -> str:
    said = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return said.stdout.strip() or "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
        flags = next(line for line in lines if line.startswith("flags"))
        return f"{name}{' with bf16' if 'avx512_bf16' in flags or 'amx_bf16' in flags else ''}"
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
