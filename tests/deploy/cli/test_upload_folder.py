"""Files on their way into the gallery while a part that they need is away."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.cli import upload_folder
from deploy.cli.find_files import Walk
from deploy.cli.upload_folder import Patience, index
from ml.storage import StorageFailed
from workers.gallery import Added
from workers.messages import JobStatus

DONE = JobStatus(job="index-1", kind="index", state="done", total=0, done=0, added=0, unchanged=0, failed=0, seconds=1)


class OpenJob:
    """What an index job was given."""

    job = "index-1"

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.is_closed = False

    def append(self, id: str) -> None:
        self.ids.append(id)

    def fail(self, path: str, reason: str) -> None:
        raise AssertionError(f"{path}: {reason}")


class Client:
    """Stores files unless its storage is away."""

    def __init__(self, failures: dict[str, list[StorageFailed]]) -> None:
        self.failures = failures
        self.filled = OpenJob()

    def add(self, source: Path, **_: Any) -> Added:
        if errors := self.failures.get(source.name):
            raise errors.pop(0)
        return Added(source.name, is_new=True)

    @contextmanager
    def indexing(self) -> Iterator[OpenJob]:
        try:
            yield self.filled
        finally:
            self.filled.is_closed = True

    @contextmanager
    def stopping(self, job: str) -> Iterator[None]:
        yield

    def job(self, job: str) -> JobStatus:
        return DONE

    def follow(self, job: str) -> Iterator[JobStatus]:
        yield DONE


@pytest.fixture
def photos(tmp_path: Path) -> Walk:
    for n in range(8):
        (tmp_path / f"{n}.jpg").write_bytes(b"x")
    return Walk([tmp_path])


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    wait = upload_folder.threading.Event.wait
    monkeypatch.setattr(upload_folder.threading.Event, "wait", lambda self, timeout=None: wait(self, 0))


def away() -> StorageFailed:
    return StorageFailed("the storage s3://photos does not answer: reset", passes=True)


def run(client: Any, photos: Walk) -> list[str]:
    told: list[str] = []
    index(client, photos, progress=lambda done, known: None, say=told.append)
    return told


@pytest.mark.usefixtures("pauses")
def test_a_storage_that_is_away_for_a_while_costs_no_photo_and_is_told_once(photos: Walk) -> None:
    client = Client({"3.jpg": [away(), away(), away()]})
    told = run(client, photos)
    assert sorted(client.filled.ids) == [f"{n}.jpg" for n in range(8)]
    assert told == ["waiting: the storage s3://photos does not answer: reset", "going on"]


def test_what_was_stored_is_handed_over_when_the_command_ends(photos: Walk) -> None:
    client = Client({"0.jpg": [StorageFailed("the storage s3://photos refused: 403", hint="check the keys")]})
    with pytest.raises(StorageFailed, match="refused"):
        run(client, photos)
    assert client.filled.ids, "photos that were read meanwhile"
    assert "0.jpg" not in client.filled.ids
    assert client.filled.is_closed


@pytest.mark.usefixtures("pauses")
def test_waiting_ends_at_the_limit() -> None:
    def fail() -> None:
        raise away()

    with pytest.raises(StorageFailed):
        Patience(lambda line: None, longest_s=0).out(fail)
