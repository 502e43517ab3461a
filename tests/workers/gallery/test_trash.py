"""What is deleted can come back as it was, until it is removed for good; nothing is lost in between."""

import contextlib
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from ml.storage import LocalStorage, open_storage
from tests.workers.dying import Killed
from tests.workers.tasks.test_reconcile import context, photo, work  # noqa: F401
from tests.workers.tasks.test_transfer import backup, home  # noqa: F401
from tests.workers.tasks.test_verify import run, system  # noqa: F401
from workers import settings as settings_of
from workers.answers import APART, Answers
from workers.client.changes import Changes
from workers.client.duplicates import Duplicates
from workers.errors import NotFound
from workers.gallery import Gallery
from workers.queue.jobs import PREFIXES
from workers.saved_queries import SavedQueries
from workers.tasks.context import Context
from workers.tasks.housekeeping import Housekeeping


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery(LocalStorage(tmp_path / "storage"))


@pytest.fixture
def id(gallery: Gallery) -> str:
    id = gallery.add(photo(1), path="cafe/1.png", label="folder").id
    gallery.set_label(id, "cup")
    gallery.put_thumbnails({id: b"jpeg"})
    return id


class TestOneImage:
    def test_what_is_deleted_does_not_exist_and_is_kept(self, gallery: Gallery, id: str) -> None:
        before = gallery.image(id)
        gallery.discard(id)
        gallery.sweep(id)
        assert list(gallery.ids()) == []
        with pytest.raises(NotFound, match="is in the trash"):
            gallery.image(id)
        (discarded,) = gallery.discarded()
        assert discarded.known.image == before
        assert time.time() - 60 < discarded.deleted_at <= time.time()
        assert gallery.thumbnail(id) == b"jpeg"

    def test_it_is_restored_as_it_was(self, gallery: Gallery, id: str) -> None:
        before = gallery.image(id)
        gallery.discard(id)
        gallery.sweep(id)
        assert gallery.restore(id) == before
        assert gallery.image(id) == before
        assert gallery.original(id) == photo(1)
        assert list(gallery.discarded()) == []
        gallery.add(photo(1), path="cafe/1.png", label="folder")
        assert gallery.image(id).label == "cup", "a person gave it, before and after"

    def test_adding_its_file_again_restores_it_and_says_so(self, gallery: Gallery, id: str) -> None:
        gallery.discard(id)
        added = gallery.add(photo(1), path="cafe/1.png", label="folder")
        assert (added.is_restored, added.is_new) == (True, False)
        assert gallery.image(id).label == "cup"
        assert list(gallery.trash.ids()) == []

    def test_what_is_removed_for_good_leaves_nothing(self, gallery: Gallery, id: str, tmp_path: Path) -> None:
        gallery.discard(id)
        assert gallery.purge(id)
        assert [file for file in (tmp_path / "storage").rglob("*") if file.is_file() and file.name[0] != "."] == []
        assert not gallery.purge(id)
        with pytest.raises(NotFound):
            gallery.restore(id)

    def test_an_image_that_exists_is_not_removed_by_emptying(self, gallery: Gallery, id: str) -> None:
        gallery.discard(id)
        gallery.restore(id)
        assert not gallery.purge(id)
        assert gallery.original(id) == photo(1)

    @pytest.mark.parametrize("id", ["../../x", "", "0" * 32])
    def test_what_is_not_there_is_not_found(self, gallery: Gallery, id: str) -> None:
        for attempt in (gallery.discard, gallery.restore):
            with pytest.raises(NotFound):
                attempt(id)
        assert not gallery.purge(id)


class Dying(LocalStorage):
    """A folder whose writer is killed right before its n-th change."""

    changes_left = 10**9

    def put(self, key: str, data: bytes, **options: Any) -> None:
        self._live()
        super().put(key, data, **options)

    def delete(self, key: str) -> None:
        self._live()
        super().delete(key)

    def _live(self) -> None:
        self.changes_left -= 1
        if self.changes_left < 0:
            raise Killed


@pytest.mark.parametrize("change", range(4))
@pytest.mark.parametrize("action", ["discard", "restore", "purge"])
def test_a_kill_anywhere_loses_nothing_that_was_to_be_kept(tmp_path: Path, action: str, change: int) -> None:
    storage = Dying(tmp_path / "storage")
    gallery = Gallery(storage)
    id = gallery.add(photo(1), path="1.png", label="cup").id
    if action != "discard":
        gallery.discard(id)
    storage.changes_left = change
    with contextlib.suppress(Killed):
        getattr(gallery, action)(id)
    storage.changes_left = 10**9
    if action == "purge":
        gallery.purge(id)  # the next round
        assert list(gallery.originals.ids()) == list(gallery.trash.ids()) == []
        return
    exists, is_trashed = id in gallery.ids(), any(gallery.discarded())
    assert exists != is_trashed
    gallery.sweep(id)
    if is_trashed:
        gallery.restore(id)
    assert gallery.image(id).label == "cup"
    assert gallery.original(id) == photo(1)


class TestCollections:
    def test_points_go_and_come_back(self, context: Context) -> None:  # noqa: F811
        gallery, store = context.serving.gallery, context.serving.store
        ids = [gallery.add(photo(20 * n), path=f"{n}.png", label="cup").id for n in range(3)]
        work(context, ids)
        gallery.discard(ids[1])
        assert work(context, ids).removed == 1
        assert set(store.fetch("photos", ids)) == {ids[0], ids[2]}
        gallery.restore(ids[1])
        work(context, ids)
        assert store.fetch("photos", ids)[ids[1]].payload.label == "cup"

    def test_verify_leaves_the_trash_alone(self, system: Context) -> None:  # noqa: F811
        gallery = system.serving.gallery
        id = next(iter(gallery.ids()))
        gallery.discard(id)
        for _ in range(2):
            run(system, system.jobs.create("verify", {"repair": True}), PREFIXES)
        assert gallery.restore(id).id == id
        assert gallery.is_intact(id)


class TestBackup:
    def test_the_trash_is_in_the_archive_and_comes_back(self, home: Context, tmp_path: Path) -> None:  # noqa: F811
        gallery = home.serving.gallery
        id = next(iter(gallery.ids()))
        file = tmp_path / "photos" / "in_place.png"
        file.write_bytes(photo(33))
        in_place = gallery.add(file, path=str(file), label=None, in_place=True).id
        for each in (id, in_place):
            gallery.discard(each)
        backup(home, tmp_path / "archive")
        archive = Gallery(open_storage(f"file://{tmp_path}/archive"))
        assert {each.known.image.id for each in archive.discarded()} == {id, in_place}
        file.unlink()
        for each in (id, in_place):
            assert archive.restore(each).id == each
            assert archive.is_intact(each)

    def test_what_was_restored_or_removed_since_goes_from_the_archives_trash(
        self,
        home: Context,  # noqa: F811
        tmp_path: Path,
    ) -> None:
        gallery = home.serving.gallery
        first, second = list(gallery.ids())[:2]
        for each in (first, second):
            gallery.discard(each)
        backup(home, tmp_path / "archive")
        gallery.restore(first)
        gallery.purge(second)
        backup(home, tmp_path / "archive")
        archive = Gallery(open_storage(f"file://{tmp_path}/archive"))
        assert list(archive.trash.ids()) == []
        assert first in archive.ids()
        assert second not in archive.originals.ids()


def test_the_housekeeper_removes_what_has_expired_and_nothing_else(
    queue: redis.Redis, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving: Any = SimpleNamespace(
        gallery=gallery,
        registry=SimpleNamespace(forget_removed=lambda until: None),
        settings=settings_of.load({"LOOKALIKE_TRASH_DAYS": "2"}),
    )
    keeper = Housekeeping(SimpleNamespace(serving=serving, redis=queue))  # type: ignore[arg-type]
    old, fresh, alive = (gallery.add(photo(n), path=f"{n}.png", label=None).id for n in (1, 50, 100))
    now = time.time()
    for id, days in ((old, 3), (alive, 3), (fresh, 1)):
        monkeypatch.setattr("workers.gallery.trash.time", SimpleNamespace(time=lambda days=days: now - days * 86_400))
        gallery.discard(id)
    gallery.restore(alive)
    assert not keeper._sweep_trash()
    assert list(gallery.trash.ids()) == [fresh]
    assert set(gallery.originals.ids()) == {fresh, alive}


class TestUndoing:
    @pytest.fixture
    def changes(self, context: Context, tmp_path: Path) -> Changes:  # noqa: F811
        connection: Any = SimpleNamespace(
            settings=settings_of.load({"LOOKALIKE_HOME": str(tmp_path)}),
            redis=context.redis,
            errors_reported=contextlib.nullcontext,
            start_job=lambda kind, params, ids: self._work(context, kind, ids),
        )
        storage = open_storage(connection.settings.storage_url)
        duplicates = Duplicates(connection, Answers(storage, folder=APART))
        return Changes(connection, context.serving.gallery, duplicates, SavedQueries(storage))

    def _work(self, context: Context, kind: str, ids: list[str]) -> str:  # noqa: F811
        work(context, ids)
        return f"{kind}-{context.redis.incr('jobs')}"

    @pytest.fixture
    def ids(self, context: Context) -> list[str]:  # noqa: F811
        gallery = context.serving.gallery
        ids = [gallery.add(photo(20 * n), path=f"{n}.png", label=f"folder {n}").id for n in range(3)]
        work(context, ids)
        return ids

    def labels(self, context: Context, ids: list[str]) -> list[str | None]:  # noqa: F811
        points = context.serving.store.fetch("photos", ids)
        return [points[id].payload.label if id in points else "gone" for id in ids]

    def test_labels_go_back_to_what_each_was(self, context: Context, changes: Changes, ids: list[str]) -> None:  # noqa: F811
        job = changes.relabel(dict.fromkeys(ids, None)).job
        assert self.labels(context, ids) == [None] * 3
        changes.undo(job)
        assert self.labels(context, ids) == ["folder 0", "folder 1", "folder 2"]
        context.serving.gallery.add(photo(0), path="0.png", label="renamed folder")
        assert context.serving.gallery.image(ids[0]).label == "renamed folder", "it is a folder's name again"

    def test_what_was_changed_again_since_stays(self, context: Context, changes: Changes, ids: list[str]) -> None:  # noqa: F811
        job = changes.relabel(dict.fromkeys(ids, "cup")).job
        changes.relabel({ids[0]: "mug"})
        changes.undo(job)
        assert self.labels(context, ids) == ["mug", "folder 1", "folder 2"]

    def test_a_deletion_is_undone_once(self, context: Context, changes: Changes, ids: list[str]) -> None:  # noqa: F811
        job = changes.delete(ids[:2]).job
        assert self.labels(context, ids) == ["gone", "gone", "folder 2"]
        assert {each.id for each in changes.trashed()[0]} == set(ids[:2])
        changes.empty_trash([ids[0]])
        changes.undo(job)
        assert self.labels(context, ids) == ["gone", "folder 1", "folder 2"]
        with pytest.raises(NotFound, match="nothing to undo"):
            changes.undo(job)

    def test_what_are_no_duplicates_and_removed_queries_are_taken_back(self, changes: Changes, ids: list[str]) -> None:
        kept = changes._queries.keep_image(ids[0], "0.png")
        apart, removed = changes.keep_apart(ids[:2]), changes.forget_query(ids[0])
        assert changes._duplicates._apart.about(ids[0]) == {ids[1]: True}
        assert changes._queries.all() == []
        changes.undo(apart)
        changes.undo(removed)
        assert changes._duplicates._apart.about(ids[0]) == {}
        assert changes._queries.all() == [kept]

    def test_one_unknown_image_costs_only_itself(self, context: Context, changes: Changes, ids: list[str]) -> None:  # noqa: F811
        done = changes.delete([ids[0], "0" * 32, "../x"])
        assert (done.ids, [(each.id, each.reason) for each in done.skipped]) == (
            [ids[0]],
            [("0" * 32, "it is not in the gallery any more"), ("../x", "no image has such an id")],
        )
        assert self.labels(context, ids) == ["gone", "folder 1", "folder 2"]
        nothing = changes.relabel({ids[0]: "cup"})
        assert (nothing.job, nothing.ids, nothing.skipped[0].reason) == (None, [], "it is in the trash")
        assert [each.reason for each in changes.empty_trash([ids[1]]).skipped] == ["it is in the gallery"]
        assert self.labels(context, ids)[1] == "folder 1"

    def test_emptying_takes_damaged_records_too(self, context: Context, changes: Changes, ids: list[str]) -> None:  # noqa: F811
        changes.delete(ids)
        storage = context.serving.gallery._storage
        storage.put(f"trash/{ids[0][:2]}/{ids[0]}.json", b"{")
        assert changes.trashed()[1] == 2
        assert len(changes.empty_trash().ids) == 3
        assert list(context.serving.gallery.originals.ids()) == []
