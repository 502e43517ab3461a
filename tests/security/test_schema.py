"""Schemathesis finds nothing: no 5xx, nothing that the API's document does not say, as a stranger and as each role.

A few examples per operation here, against a system of their own. `make fuzz EXAMPLES=1000` tries many.
"""

from collections.abc import Iterator

import pytest

from tests.security import fuzz
from workers.client import Role


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Iterator[fuzz.Target]:
    with fuzz.target(tmp_path_factory.mktemp("fuzz")) as where:
        yield where


@pytest.mark.parametrize("role", fuzz.WHO)
def test_schemathesis_finds_nothing(where: fuzz.Target, role: str) -> None:
    # The others are refused before anybody looks at what they sent: a few requests show that.
    phases = fuzz.PHASES if role == Role.ADMIN else ("examples", "fuzzing")
    assert fuzz.run(where, role, examples=2, phases=phases, seed=1) == 0
