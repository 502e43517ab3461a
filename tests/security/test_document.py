"""docs/security.md names tests that are there, and nothing it claims is without one."""

import re

import pytest

from tests.documents import ROOT

ROWS = [
    line
    for line in (ROOT / "docs/security.md").read_text("utf-8").splitlines()
    if line.startswith("|") and "`tests/" in line
]


def test_there_are_rows() -> None:
    assert len(ROWS) > 20


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_the_test_of_a_requirement_is_there(row: str) -> None:
    for named in re.findall(r"`(tests/[^`]+)`", row):
        path, _, name = named.partition("::")
        text = (ROOT / path).read_text("utf-8")
        assert not name or re.search(rf"^(def|class) {name}\b", text, re.M), named
