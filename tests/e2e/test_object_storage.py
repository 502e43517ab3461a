"""A gallery in a bucket: a server that goes away for a while, keys that are wrong, two workers at one label."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest

from tests.e2e.conftest import Program
from tests.e2e.test_nothing_lost import write
from tests.s3 import S3Server

STORAGE = "s3://photos/gallery"


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with S3Server() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment().items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="photos")
        yield server


def test_a_storage_that_goes_away_while_photos_are_added_is_waited_for(
    s3: S3Server, new_program: Callable[..., Program], tmp_path: Path
) -> None:
    program = new_program(LOOKALIKE_STORAGE=STORAGE, **s3.environment())
    for n in range(24):
        write(tmp_path / "limes" / f"{n}.jpg", 600 + n)
    stored = set[str]()

    def leave(method: str, path: str) -> None:
        if method == "PUT" and "/originals/" in path and path not in stored:
            stored.add(path)
            if len(stored) == 8:
                s3.is_away.set()

    s3.on_request = leave
    indexing = program.start("index", tmp_path / "limes", "--json")
    told = list[str]()
    waits = threading.Event()

    def listen() -> None:
        assert indexing.stderr
        for line in indexing.stderr:
            told.append(line.strip())
            if line.startswith("waiting: "):
                waits.set()

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        assert waits.wait(120), told
    finally:
        s3.is_away.clear()
        s3.on_request = lambda method, path: None
    assert indexing.stdout
    report = indexing.stdout.read()
    listener.join()
    assert indexing.wait(60) == 0, told
    assert '"added": 24' in report
    waiting = next(line for line in told if line.startswith("waiting: "))
    assert waiting.startswith(f"waiting: the storage {STORAGE} does not answer")
    assert "going on" in told
    assert program("verify", "--json").report["missing"] == 0


@pytest.mark.parametrize("command", [("index", "limes"), ("status",), ("up", "--port", "0")], ids=lambda it: it[0])
def test_keys_that_are_refused_are_told_by_the_command(
    s3: S3Server, new_program: Callable[..., Program], tmp_path: Path, command: tuple[str, ...]
) -> None:
    write(tmp_path / "limes" / "1.jpg", 600)
    refused = new_program(LOOKALIKE_STORAGE=STORAGE, **s3.environment("wrong"))(*command, timeout_s=60)
    assert refused.status == 1
    *_, message, hint = refused.errors.strip().split("\n")
    assert f"the storage {STORAGE}/models refused: " in message
    assert hint.startswith("hint: check the keys")
