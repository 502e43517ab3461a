"""Hostile names, JSON and states, and what a refusal must look like."""

import os
from pathlib import Path
from typing import Any

import pytest

from ml.errors import LookalikeError
from ml.preprocessing import Preprocessing

HOSTILE_NAMES = ("../x", "/x", "..", ".", "", ".hidden", "a/b", "a\\b", "a\0b", "-rf", "a\nb", "a ", "x.", "x" * 300)
HOSTILE_JSON = {
    "empty": b"",
    "a list": b"[]",
    "text": b'"x"',
    "null": b"null",
    "cut short": b'{"id": ',
    "no UTF-8": b"\xff\xfe",
    "deep": b"[" * 100_000,
    "deep and whole": b"[" * 50_000 + b"]" * 50_000,
    "5,000 digits": b'{"id": %s}' % (b"9" * 5_000),
    "NaN": b'{"id": NaN}',
    "infinity": b'{"id": 1e999}',
    "half of a surrogate pair": b'{"id": "\\ud800"}',
}


def one_line(raised: pytest.ExceptionInfo[LookalikeError]) -> None:
    assert "\n" not in raised.value.message and len(raised.value.message) < 1000, raised.value.message


HOSTILE_ENTRIES: dict[str, Any] = {
    "collection elsewhere": {"model": "tiny", "collection": "../../victim", "since": 1.0},
    "model elsewhere": {"model": "../tiny", "collection": "c", "since": 1.0},
    "model that is a state": {"model": "active.json", "collection": "c", "since": 1.0},
    "since that is text": {"model": "tiny", "collection": "c", "since": "1"},
    "since the end of time": {"model": "tiny", "collection": "c", "since": 1e300},
    "no collection": {"model": "tiny", "since": 1.0},
    "a list": ["tiny"],
    "text": "tiny",
}

ID = "ab" * 16
HEX = "0" * 64  # a SHA-256 of nothing
TINY = Preprocessing(32, 32, "squash", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), False)


def make_strange(kind: str, path: Path, secret: Path) -> None:
    path.unlink(missing_ok=True)
    if kind == "link":
        path.symlink_to(secret)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
