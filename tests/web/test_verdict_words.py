"""What pages and documents say of a verdict is where verdicts begin."""

import re
from pathlib import Path

from ml.tuning.calibration import SAME_FROM, UNLIKELY_BELOW
from web.api.schemas.search import Result

ROOT = Path(__file__).parents[2]


def test_pages_and_documents_name_the_probabilities_of_verdicts() -> None:
    page = (ROOT / "web" / "templates" / "search.html").read_text("utf-8")
    assert re.findall(r"probability of (\d+) %", page) == [f"{SAME_FROM:.0%}".rstrip("%")]
    table = (ROOT / "docs" / "explanation" / "thresholds.md").read_text("utf-8")
    assert f"| `same` | {SAME_FROM} or more" in table
    assert f"| `similar` | {UNLIKELY_BELOW} to {SAME_FROM} |" in table
    description = Result().fields["verdict"].metadata
    assert f"same from {SAME_FROM} on, unlikely below {UNLIKELY_BELOW}" in str(description)
