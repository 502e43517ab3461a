"""Schemathesis against a whole system of its own, as a stranger and as each role: all checks of the API's document.

    python -m tests.security.fuzz --examples 1000 [--role viewer] [--operation search] [--phase fuzzing] [--alone]

It starts the system on 127.0.0.1, with a token for each role and the demo photos, and runs one role after the other.
Its status is that of `schemathesis run`: 0 when nothing was found. tests/security/test_schema.py runs a few examples.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from deploy import demo_photos
from deploy.cli.find_files import Walk
from deploy.cli.upload_folder import index
from deploy.local.stack import Stack
from workers import settings
from workers.client import Client, Role

STRANGER = "anyone"
WHO = (STRANGER, *map(str, Role))
EXISTING = {"id": "ids", "job_id": "jobs"}  # parameter of an address -> values of it that are there
PHASES = ("examples", "coverage", "fuzzing", "stateful")
# What leaves fewer photos, or another model, to those that come after it.
LAST = ("publish_model", "train_model", "tune_model", "roll_back", "keep_one", "replace_label")
LAST += ("delete_image", "change_images", "restore_images", "empty_trash")
ROOT = Path(__file__).parents[2]


def secret(role: str) -> str:
    return f"secret-of-the-{role}-4711"


def bearer(role: str) -> dict[str, str]:
    return {} if role == STRANGER else {"Authorization": f"Bearer {secret(role)}"}


@dataclass(frozen=True)
class Target:
    """A running system, and what the document's example ids stand for in it."""

    address: str
    ids: tuple[str, ...]
    job: str
    folder: Path


@contextlib.contextmanager
def target(folder: Path) -> Iterator[Target]:
    """A whole system with a token for each role and the demo photos."""
    photos = folder / "photos"
    demo_photos.make(photos, products=4, views=3)
    tokens = ",".join(f"{role}-anna:{role}:{secret(role)}" for role in Role)
    own = settings.load({"LOOKALIKE_HOME": str(folder / "home"), "LOOKALIKE_API_TOKENS": tokens})
    with Stack(own, portal=("127.0.0.1", 0)) as stack:
        assert stack.address
        client = Client(stack.settings)
        job = index(client, Walk([photos]), progress=lambda _done, _total: None).job
        ids = tuple(image.id for image in client.images(limit=12)[0])
        yield Target(stack.address, ids, job or "", folder)


def run(
    where: Target,
    role: str,
    examples: int,
    *,
    operations: Sequence[str] = (),
    phases: Sequence[str] = PHASES,
    seed: int | None = None,
) -> int:
    """`schemathesis run` with all checks as one role; returns its exit status. Its report goes to stdout.

    Args:
        where: the system.
        role: whose token is shown; none for a stranger.
        examples: for each operation, besides those of `coverage`.
        operations: only these, by their names in the document.
        phases: of Schemathesis; `coverage` is every edge of every field, some 600 requests.
        seed: makes a run repeatable.
    """
    with tempfile.TemporaryDirectory(dir=where.folder) as folder:
        (Path(folder) / "openapi.json").write_text(json.dumps(_document(where)))
        (Path(folder) / "schemathesis.toml").write_text(_configuration(where))
        command = [str(Path(sys.executable).parent / "schemathesis"), "run", "openapi.json", "--url", where.address]
        command += ["--checks", "all", "--max-examples", str(examples), "--continue-on-failure"]
        command += ["--phases", ",".join(phases), "--request-timeout", "40", "--warnings", "off"]
        command += [part for name, value in bearer(role).items() for part in ("--header", f"{name}: {value}")]
        command += ["--seed", str(seed)] if seed is not None else []
        command += [part for operation in operations for part in ("--include-operation-id", operation)]
        environment = os.environ | {"SCHEMATHESIS_HOOKS": "tests.security.fuzz_hooks", "PYTHONPATH": str(ROOT)}
        environment["PYTHONUNBUFFERED"] = "1"  # a phase of an hour is told when it ends, into a file, too
        return subprocess.run(command, cwd=folder, env=environment).returncode


def _document(where: Target) -> dict[str, Any]:
    answer = requests.get(f"{where.address}/api/v1/openapi.json", headers=bearer(Role.VIEWER), timeout=30)
    document: dict[str, Any] = answer.json()
    # What web/api/document.py would say, if only generators of clients took it.
    document["paths"]["/api/v1/search"]["post"]["requestBody"]["required"] = True
    by_image = document["components"]["schemas"]["SearchByImage"]
    del by_image["not"]  # which Schemathesis cannot judge of a form with files
    by_image["oneOf"] = [{"required": ["image"]}, {"required": ["id"]}]
    return document


def every_operation(where: Target) -> list[str]:
    """The names of all, those last that leave less to others."""
    paths = _document(where)["paths"].values()
    named = {each["operationId"] for path in paths for each in path.values() if "operationId" in each}
    return [*sorted(named - set(LAST)), *LAST]


def _configuration(where: Target) -> str:
    """Ids that are there, in most requests: with made-up ones alone every answer would be 404."""
    # What is too long is refused as such, whatever is in it.
    expected = {
        "negative_data_rejection": ["400", "401", "403", "404", "409", "413", "415", "422", "429", "431"],
        "positive_data_acceptance": ["2xx", "401", "403", "404", "409", "413", "429"],
    }
    dictionaries = {"ids": where.ids, "jobs": [where.job]}
    lines = ["color = false"]
    for name, values in dictionaries.items():
        lines += [f"[dictionaries.{name}]", f"values = {json.dumps(values)}"]
    # No schema says what a box and several photos may be.
    lines += ["[[operations]]", 'include-operation-id = "search"', "[operations.checks.positive_data_acceptance]"]
    lines += [f"expected-statuses = {json.dumps([*expected['positive_data_acceptance'], '422'])}"]
    # The trash shows what was deleted.
    lines += ["[[operations]]", 'include-operation-id = "get_thumbnail"', "[operations.checks.use_after_free]"]
    lines += ["enabled = false"]
    for check, statuses in expected.items():
        lines += [f"[checks.{check}]", f"expected-statuses = {json.dumps(statuses)}"]
    lines.append("[parameters]")
    lines += [f'"path.{name}" = {{ dictionary = "{of}", probability = 0.7 }}' for name, of in EXISTING.items()]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=50, help="per operation")
    parser.add_argument("--role", choices=WHO, action="append", help="only this one; may be given again")
    parser.add_argument("--operation", action="append", default=[], help="only this one, by its operationId")
    parser.add_argument("--phase", choices=PHASES, action="append", help="only this one; may be given again")
    parser.add_argument("--alone", action="store_true", help="every operation in a run of its own, without sequences")
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, target(Path(folder)) as where:
        statuses = {}
        for role in options.role or WHO:
            print(f"==> as {role}", flush=True)
            each_run = [options.operation]
            if options.alone:
                each_run = [[name] for name in options.operation or every_operation(where)]
            phases = options.phase or (PHASES[:-1] if options.alone else PHASES)
            statuses[role] = max(
                run(where, role, options.examples, operations=names, phases=phases, seed=options.seed)
                for names in each_run
            )
    print(json.dumps(statuses))
    return max(statuses.values())


if __name__ == "__main__":
    sys.exit(main())
