"""What is copied elsewhere is the gallery, whole: nothing of others, nothing that is not what its id says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml.storage import open_storage
from tests.workers.tasks.test_reconcile import context, photo  # noqa: F401
from tests.workers.tasks.test_verify import run, stored, system  # noqa: F401
from workers.answers import Answers
from workers.client import archive_check
from workers.queue.jobs import PREFIXES
from workers.store import Payload, Point
from workers.store.archive import Archive
from workers.tasks.context import Context


@pytest.fixture
def home(system: Context, tmp_path: Path) -> Context:  # noqa: F811
    serving: Any = system.serving
    serving.storage = open_storage(f"file://{tmp_path}/storage")
    return system


def backup(home: Context, to: Path) -> dict[str, Any]:
    status = run(home, home.jobs.create("backup", {"to": f"file://{to}"}), PREFIXES)
    assert (status.state, status.failed) == ("done", 0), status
    return status.detail


def archived(to: Path) -> dict[str, int]:
    archive = Archive(open_storage(f"file://{to}"))
    return {name: sum(len(archive.read(name, prefix[7:])) for prefix in PREFIXES) for name in archive.collections()}


def test_a_foreign_collection_is_left_alone(home: Context, tmp_path: Path) -> None:
    store = home.serving.store.store
    store.ensure("somebody-elses", 2)
    store.upsert("somebody-elses", [Point("a" * 32, np.array([1, 0], np.float32), Payload("x", None))])
    backup(home, tmp_path / "archive")
    assert archived(tmp_path / "archive") == {"photos": 4}
    assert store.count("somebody-elses") == 1


def test_a_collection_that_was_dropped_goes_from_the_archive(home: Context, tmp_path: Path) -> None:
    archive = Archive(open_storage(f"file://{tmp_path}/archive"))
    archive.ensure("older", 2)
    archive.write("older", "aa", [Point("a" * 32, np.array([1, 0], np.float32), Payload("x", None))])
    backup(home, tmp_path / "archive")
    assert archived(tmp_path / "archive") == {"photos": 4}
    assert not list((tmp_path / "archive").glob("collections/older/*"))


def test_a_damaged_original_is_left_out_and_counted(home: Context, tmp_path: Path) -> None:
    backup(home, tmp_path / "archive")
    file = stored(home, "originals", 2, tmp_path)
    file.write_bytes(b"something else")
    assert backup(home, tmp_path / "again")["left_out"] == 1
    assert not (tmp_path / "again" / "originals" / file.parent.name / file.name).exists()
    assert backup(home, tmp_path / "archive")["left_out"] == 1
    kept = tmp_path / "archive" / "originals" / file.parent.name / file.name
    assert kept.read_bytes() == photo(120), "the whole one of an earlier backup stays"
    run(home, home.jobs.create("restore", {"from": f"file://{tmp_path}/archive"}), PREFIXES)
    assert file.read_bytes() == photo(120), "a restore heals"


def test_what_stays_in_place_is_in_the_archive(home: Context, tmp_path: Path) -> None:
    file = tmp_path / "photos" / "in_place.png"
    file.write_bytes(photo(33))
    id = home.serving.gallery.add(file, path=str(file), label=None, in_place=True).id
    backup(home, tmp_path / "archive")
    assert (tmp_path / "archive" / "originals" / id[:2] / id).read_bytes() == photo(33)
    file.unlink()
    backup(home, tmp_path / "archive")
    assert (tmp_path / "archive" / "originals" / id[:2] / id).read_bytes() == photo(33)
    run(home, home.jobs.create("restore", {"from": f"file://{tmp_path}/archive"}), PREFIXES)
    assert home.serving.gallery.original(id) == photo(33)


def test_answers_go_into_the_archive_and_come_back_beside_later_ones(home: Context, tmp_path: Path) -> None:
    one, other, third = ("aa" + "0" * 30, "ab" + "0" * 30, "aa" + "1" * 30)
    answers = Answers(home.serving.storage)
    answers.give(one, other, is_same=True)
    backup(home, tmp_path / "archive")
    for prefix in ("aa", "ab"):
        home.serving.storage.delete(f"answers/{prefix}/pairs.json")
    answers.give(one, third, is_same=False)
    archive = f"file://{tmp_path}/archive"
    archive_check.check(open_storage(archive), archive)
    status = run(home, home.jobs.create("restore", {"from": archive}), PREFIXES)
    assert (status.state, status.failed) == ("done", 0), status
    assert answers.about(one) == {other: True, third: False}
