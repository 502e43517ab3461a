"""What people say of photos at the command line: labels, answers, copies, saved queries; and taking it back."""

import itertools
import json
from pathlib import Path

import pytest
from PIL import Image

from tests.e2e.conftest import Program

_WIDTHS = itertools.count()


@pytest.fixture
def two(at_stack: Program, tmp_path: Path) -> list[str]:
    """Two photos of this test alone, without a label."""
    width = 120 + next(_WIDTHS)  # other contents than those of the tests before: the system is shared
    for number in range(2):
        extent = (-2.0 + number, -1.0, 1.0, 1.0 + number)
        Image.effect_mandelbrot((width, 90), extent, 50 + number).convert("RGB").save(tmp_path / f"mine-{number}.png")
    assert at_stack("index", *sorted(tmp_path.glob("mine-*.png")), "--label-from", "none").status == 0
    page = at_stack("photos", "--folder", tmp_path, "--json").report
    assert page["total"] == 2
    return [image["id"] for image in page["images"]]


def test_labels_are_given_renamed_and_taken_back(at_stack: Program, two: list[str]) -> None:
    waiting = at_stack("labels", "unlabelled", "--json", "--limit", "200").report
    assert set(two) <= {image["id"] for group in waiting["groups"] for image in group["images"]}
    assert at_stack("label", *two, "--as", "fractl", "--json").report["labelled"] == 2
    assert at_stack("labels", "outliers", "fractl", "--json").report["count"] == 2
    renamed = at_stack("labels", "rename", "fractl", "fractal", "--json").report
    assert renamed["changed"] == 2
    assert {each["label"]: each["count"] for each in at_stack("labels", "--json").report["labels"]}["fractal"] == 2
    assert at_stack("undo", renamed["job"], "--json").report["restored"] == 2
    assert at_stack("photos", "--label", "fractl", "--json").report["total"] == 2
    assert at_stack("labels", "remove", "fractl", "--json").report["changed"] == 2
    assert at_stack("labels", "remove", "fractl").status == 1


def test_answers_travel_as_a_table(at_stack: Program, two: list[str], tmp_path: Path) -> None:
    one, other = sorted(two)
    given = at_stack("answers", "give", one, other, "--not-same", "--json").report
    assert (given["one"], given["other"], given["same"]) == (one, other, False)
    table = tmp_path / "answers.csv"
    assert at_stack("answers", "export", table, "--json").report["answers"] >= 1
    assert f"{one},{other},false" in table.read_text().splitlines()
    at_stack("answers", "give", one, other, "--take-back")
    assert at_stack("answers", "--of", one, "--json").report["answers"] == []
    assert at_stack("answers", "import", table).status == 0
    (answer,) = at_stack("answers", "--of", one, "--json").report["answers"]
    assert (answer["other"], answer["same"]) == (other, False)
    table.write_text(f"one,other,same\n{one},{other},perhaps\n")
    refused = at_stack("answers", "import", table)
    assert refused.status == 1
    assert "line 2: must be two ids, and true or false" in refused.errors
    assert at_stack("answers", "give", one, one, "--same").status == 2


def test_one_of_copies_is_kept_and_queries_are_saved(at_stack: Program, two: list[str], tmp_path: Path) -> None:
    kept, copy = two
    saved = at_stack("queries", "save", kept, next(tmp_path.glob("*.png")), "0" * 32, "--json").report
    assert [query["is_photo"] for query in saved["saved"]] == [False, True]
    assert [each["photo"] for each in saved["left_out"]] == ["0" * 32]
    listed = {query["id"] for query in at_stack("queries", "--json").report["queries"]}
    assert {query["id"] for query in saved["saved"]} <= listed
    assert at_stack("queries", "remove", *listed, "--json").report["removed"] == list(listed)
    assert at_stack("duplicates", "apart", *two, "--json").report["apart"] is True
    assert at_stack("duplicates", "groups", "--json").status == 0
    done = at_stack("duplicates", "keep", kept, copy, "0" * 32, "--json").report
    assert (done["deleted"], [each["id"] for each in done["skipped"]]) == (1, ["0" * 32])
    assert at_stack("undo", done["job"], "--json").report["restored"] == 1
    partly = at_stack("delete", *two, "0" * 32, "--json")
    assert partly.report["deleted"] == 2
    assert f"left out: {'0' * 32}: it is not in the gallery any more" in partly.errors
    assert json.dumps(at_stack("trash", "empty", *two, "--json").report["removed"]) == "2"
