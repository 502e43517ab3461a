"""How `make test` divides the tests between two processes; a plain `pytest` runs them one after the other.

Tests of one file stay together and in order, for they share fixtures. So do all that want the whole machine: end-to-end
tests, which share a running system, and those that start Ray, of which two at once might not start in time.
Everything else that tests use belongs to one process: folders, ports, queues.
"""

import os
from collections.abc import Generator
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

ONE_AFTER_THE_OTHER = (
    "tests/e2e/",
    "tests/ml/ray_cluster/",
    "tests/ml/sweeps/test_run.py",
    "tests/deploy/cli/test_sweep.py",
    "tests/notebooks/test_notebooks.py::test_a_sweep_tries_everything_once_and_repeats_nothing",
)
# What takes longest begins first, lest one process ends with minutes of it while the other has nothing to do.
LONGEST = (
    *ONE_AFTER_THE_OTHER,
    "tests/notebooks/",
    "tests/benchmarks/",
    "tests/deploy/",
    "tests/ml/training/",
    "tests/ml/evaluation/",
    "tests/ml/",
    "tests/security/",
)


def group(test: str) -> str:
    """What a test is run together with, by its id: its file, or all that run one after the other."""
    return ONE_AFTER_THE_OTHER[0] if test.startswith(ONE_AFTER_THE_OTHER) else test.partition("::")[0]


def place(test: str) -> int:
    """How early a test is run, by its id; 0 for the first."""
    return next((place for place, start in enumerate(LONGEST) if test.startswith(start)), len(LONGEST))


class ByGroup(LoadFileScheduling):
    """Gives whole groups to the process that has least left to do."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByGroup:
    config.option.loadscopereorder = False  # the order is ours
    return ByGroup(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Escapes what is no Unicode: xdist cannot send a report that holds it, and would give up the whole run."""
    return _escaped((yield))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: place(item.nodeid))


def _escaped(data: Any) -> Any:
    if isinstance(data, str):
        return data.encode("utf-8", "backslashreplace").decode()
    if isinstance(data, dict):
        return {_escaped(key): _escaped(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return type(data)(_escaped(value) for value in data)
    return data
