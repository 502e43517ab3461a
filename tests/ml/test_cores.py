"""Cores: affinity, and the quota of a control group in either version, wherever it is set."""

import math
import os
import subprocess
import sys

import pytest

from ml import cores


def system(root, groups: str, **limits: str):
    """A file system with /proc/self/cgroup and files below /sys/fs/cgroup."""
    for name, content in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{k}": v for k, v in limits.items()}}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.mark.parametrize(
    ("groups", "limits", "expected"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, math.inf),
        ("0::/\n", {}, math.inf),
        # A service of systemd: the limit may stand on a group above the process's own.
        ("0::/a/b\n", {"a/cpu.max": "200000 100000\n", "a/b/cpu.max": "max 100000\n"}, 2.0),
        ("0::/a/b\n", {"a/cpu.max": "400000 100000\n", "a/b/cpu.max": "300000 100000\n"}, 3.0),
        # Version 1, as a container sees it: the path is the host's, the files are the container's.
        (
            "4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "250000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
            2.5,
        ),
        (
            "1:cpu:/x\n0::/\n",
            {"cpu/x/cpu.cfs_quota_us": "50000\n", "cpu/x/cpu.cfs_period_us": "100000\n"},
            0.5,
        ),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        ("3:cpuset:/\n", {"cpuset/cpu.cfs_quota_us": "1\n", "cpuset/cpu.cfs_period_us": "100000\n"}, math.inf),
    ],
)
def test_the_quota_is_the_smallest_that_applies(tmp_path, groups, limits, expected):
    assert cores.quota(system(tmp_path, groups, **limits)) == expected


def test_without_control_groups_there_is_no_quota(tmp_path):
    assert cores.quota(tmp_path) == math.inf


@pytest.mark.parametrize(("quota", "expected"), [(math.inf, 6), (8.0, 6), (2.5, 2), (0.5, 1)])
def test_affinity_and_quota_both_count(monkeypatch, quota, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.setattr(cores, "quota", lambda _: quota)
    assert cores.available() == expected


def test_there_is_at_least_one_here():
    assert 1 <= cores.available() <= (os.cpu_count() or 1)


def test_linear_algebra_is_limited_before_it_is_loaded(monkeypatch):
    """A worker's process, in a container with a quota that OpenBLAS would not see."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    code = (
        "import os, sys; from ml import cores; cores.available = lambda: 3; assert 'numpy' not in sys.modules;"
        " import workers.__main__; assert 'numpy' in sys.modules;"
        " print(*map(os.environ.get, ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS')))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.stdout.split() == ["3", "1"], ended.stderr


def test_what_the_environment_says_of_threads_stays(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    cores.limit_blas()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "7"
