"""Two processes share the tests: who gets which, and that no test ends the run of all."""

import subprocess
import sys
from pathlib import Path

from tests.documents import ROOT
from tests.side_by_side import LONGEST, group, place

CONFTEST = "from tests.side_by_side import *"
TESTS = """
import logging, os, sys

def test_one():
    logging.warning("\\ud800")
    print("\\ud800", file=sys.stderr)

def test_two():
    assert os.environ["PYTEST_XDIST_WORKER"] == "\\ud800"
"""


def test_what_shares_something_is_in_one_group_and_begins_early() -> None:
    wide = ("e2e/test_stack.py::a", "e2e/pages/test_query.py::b[x::y]", "ml/ray_cluster/test_session.py::c")
    assert len({group(f"tests/{test}") for test in wide}) == 1
    assert group("tests/web/test_undo.py::TestA::test_b") == "tests/web/test_undo.py"
    tests = ["tests/web/test_undo.py::t", "tests/deploy/cli/test_sweep.py::t", "tests/e2e/test_stack.py::t"]
    assert sorted(tests, key=place) == tests[::-1]
    for start in LONGEST:
        file, _, name = start.partition("::")
        assert (ROOT / file).exists() and (not name or f"def {name}(" in (ROOT / file).read_text("utf-8")), start


def run(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "pytest", "-n", "1", "-p", "no:cacheprovider", "-v", *arguments, str(folder)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    return ended.stdout + ended.stderr


def test_what_is_no_unicode_ends_no_run(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_these.py").write_text(TESTS)
    said = run(tmp_path)
    assert "1 failed, 1 passed" in said, said
    assert "INTERNALERROR" not in said
