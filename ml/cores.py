"""How many cores this process may use: the one answer for thread pools, OpenVINO and Ray."""

import os
from collections.abc import Iterator
from pathlib import Path


def available() -> int:
    """Cores of the process's affinity, and no more than the quota of its control group or container leaves; >= 1.

    Of a quota of one and a half cores the half is left: a second thread would be held up most of the time.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(cores, quota(Path("/")))))


def limit_blas(openblas: int | None = None) -> None:
    """Makes linear algebra take no more threads than `available`, here and in child processes.

    OpenBLAS and MKL look at these variables when they are loaded, and know affinities but no quotas: call it before
    anything imports NumPy. What the environment says already stays.

    Args:
        openblas: threads of OpenBLAS, which is NumPy's. More than one for who multiplies in several threads anyway do
            harm: its helpers wait in a busy loop for what comes next, and for one another.
    """
    if openblas is not None:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", str(openblas))
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, str(available()))


def quota(root: Path) -> float:
    """The smallest CPU quota of this process's control groups and those above them, in cores; infinite if none.

    Args:
        root: of the file system; tests give another.
    """
    return min(_quotas(root), default=float("inf"))


def _quotas(root: Path) -> Iterator[float]:
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2: one tree for everything
            base = root / "sys/fs/cgroup"
        elif "cpu" in controllers.split(","):  # version 1: a tree for each controller
            base = root / "sys/fs/cgroup" / controllers
            base = base if base.is_dir() else root / "sys/fs/cgroup/cpu"
        else:
            continue
        # A container may see the host's path here, which leads nowhere: only `base` counts then.
        group = base / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(base):
                yield from _quota_of(folder)


def _quota_of(group: Path) -> Iterator[float]:
    try:
        if (group / "cpu.max").exists():
            allowed, period = (group / "cpu.max").read_text().split()
        else:
            allowed = (group / "cpu.cfs_quota_us").read_text()
            period = (group / "cpu.cfs_period_us").read_text()
        if allowed != "max" and int(allowed) > 0:  # version 1 says -1 for no limit
            yield int(allowed) / int(period)
    except (OSError, ValueError):  # not a group with a limit
        return
