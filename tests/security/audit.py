"""What Lookalike is made of, and what is known against it.

    python -m tests.security.audit [--bill build/sbom.cdx.json]

It writes a bill of materials (CycloneDX) of what is installed here, and asks pip-audit about every version of
constraints.txt. The status is 1 when a vulnerability is known. Where the data of pip-audit cannot be had, it says so.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PINS = ROOT / "constraints.txt"
BILL = ROOT / "build" / "sbom.cdx.json"
LONGEST_S = 900


def write_bill(path: Path, *, is_checked: bool = True) -> None:
    """The bill of materials: Lookalike, what it needs directly, and everything else that is installed for it.

    Args:
        path: where it goes, as JSON.
        is_checked: against CycloneDX's own schema, which takes most of the time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    program = str(Path(sys.executable).parent / "cyclonedx-py")
    command = [program, "environment", "--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible"]
    # Where a package was downloaded from is nobody's business but the downloader's: --short-PURLs.
    command += ["--short-PURLs", "--of", "JSON", "-o", str(path)]
    command += ["--validate" if is_checked else "--no-validate", sys.executable]
    subprocess.run(command, check=True, capture_output=True, timeout=LONGEST_S)


def ask_pip_audit() -> dict[str, Any] | None:
    """The report of pip-audit on the pinned versions; None when it cannot get at its data."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(PINS), "--no-deps", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S)
    try:
        report: dict[str, Any] = json.loads(ran.stdout)
    except ValueError:
        print(ran.stderr.strip().rpartition("\n")[2], file=sys.stderr)
        return None
    return report


def told(report: dict[str, Any] | None) -> tuple[int, list[str]]:
    """The exit status, and what to say, a line for each finding and one of the whole."""
    packages = report["dependencies"] if report else []
    answered = [each for each in packages if "vulns" in each]
    lines = [
        f"{each['name']} {each['version']}: {found['id']}, mended in {_either(found['fix_versions'])}"
        for each in answered
        for found in each["vulns"]
    ]
    if lines:
        return 1, [*lines, f"{len(lines)} known vulnerabilities in {len(answered)} packages"]
    if not answered:
        return 0, ["NOT AUDITED: the data of pip-audit cannot be had from here, so nothing is said of vulnerabilities"]
    unknown = len(packages) - len(answered)
    left_out = f"; {unknown} more are not known to it" if unknown else ""
    return 0, [f"no known vulnerabilities in {len(answered)} packages{left_out}"]


def _either(versions: Iterable[str]) -> str:
    return " or ".join(versions) or "no version yet"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bill", type=Path, default=BILL, help="where the bill of materials goes")
    options = parser.parse_args()
    write_bill(options.bill)
    print(f"the bill of materials is {options.bill}")
    status, lines = told(ask_pip_audit())
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main())
