"""Runs the parts, each in a process of its own, then makes the page. See the package's docstring."""

import argparse
import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.suite import record
from benchmarks.suite.record import Effort

# With what each takes on two quiet cores.
PARTS = {
    "embedding": "photos to vectors, beside five others; by image size (2 minutes)",
    "searches": "searches over HTTP, one user and many, beside what cannot be left out (3 minutes)",
    "indexing": "photos into a gallery, small and of 12 megapixels (2 minutes)",
    "metrics": "figures of retrieval beside pytorch-metric-learning's (2 minutes)",
    "store": "vectors searched, beside FAISS, hnswlib and usearch; by gallery size (6 minutes)",
    "start": "how long a command and a first start take (1 minute)",
}
_LONGEST_S = 1200


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description="Measures, and writes docs/measured.md.")
    parser.add_argument("--only", help=f"parts, with commas: {', '.join(PARTS)}; or none: the page alone")
    parser.add_argument("--missing", action="store_true", help="only parts that this commit has no results of")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="tiny amounts, one round: whether it runs, not how fast")
    parser.add_argument("--folder", type=Path, default=record.RESULTS, help="where results are kept")
    parser.add_argument("--inside", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    effort = Effort(1 if options.quick else options.rounds, options.quick)
    if options.inside:
        measured(options.inside, effort, options.folder)
        sys.stdout.flush()
        os._exit(0)  # the result is kept; what engines of others do as they are freed is none of its business
    wanted = list(PARTS) if options.only is None else [name for name in options.only.split(",") if name != "none"]
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"--only must name parts of {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    failed = []
    for part in wanted:
        if options.missing and record.is_of_this_commit(record.read(part, options.folder)):
            print(f"==> {part}: has been measured", flush=True)
        elif not _run(part, effort, options.folder):
            failed.append(part)
    if options.folder == record.RESULTS and not options.quick:
        from benchmarks.suite import page

        print(f"==> {page.write()} is written", flush=True)
    if failed:
        print(f"==> failed: {', '.join(failed)}; the page keeps their last results", file=sys.stderr)
    return 1 if failed else 0


def measured(part: str, effort: Effort, folder: Path) -> Path:
    """Measures a part in this process and keeps what it found."""
    load, began = os.getloadavg()[0], time.perf_counter()
    found = importlib.import_module(f"benchmarks.suite.{part}").measure(effort)
    return record.keep(part, found, effort, load, time.perf_counter() - began, folder)


def _run(part: str, effort: Effort, folder: Path) -> bool:
    """Whether a part was measured."""
    print(f"==> {part}: {PARTS[part]}", flush=True)
    began = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.suite", "--inside", part, "--rounds", str(effort.rounds)]
    command += ["--folder", str(folder), *(["--quick"] if effort.is_quick else [])]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOOKALIKE_")}
    try:
        subprocess.run(command, cwd=record.ROOT, env=environment, check=True, timeout=_LONGEST_S)
    except subprocess.SubprocessError as error:
        print(f"    {error}", file=sys.stderr)
        return False
    print(f"    {time.perf_counter() - began:.0f} s", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
