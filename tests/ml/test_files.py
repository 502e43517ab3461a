"""Files and folders appear whole or not at all, also where another stood."""

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from ml import files


def folder(path: Path, version: str) -> None:
    path.mkdir()
    for name in ("one", "two"):
        (path / name).write_text(version)


def names(path: Path) -> list[str]:
    return [each.name for each in path.iterdir()]


@pytest.fixture(params=["exchange", "no exchange"])
def target(request, tmp_path, monkeypatch) -> Path:
    """Where a folder stands already, on file systems that can exchange two names and on others."""
    if request.param == "no exchange":
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    with files.draft(tmp_path / "new" / "target") as path:
        folder(path, "old")
    return tmp_path / "new" / "target"


class TestFiles:
    def test_a_file_is_written_and_replaced(self, tmp_path):
        for content in (b"one", "zwölf"):
            files.write(tmp_path / "deep" / "file", content)
        assert (tmp_path / "deep" / "file").read_text("utf-8") == "zwölf"
        assert names(tmp_path / "deep") == ["file"]

    def test_it_has_the_mode_that_was_asked_for(self, tmp_path):
        files.write(tmp_path / "secret", b"", mode=0o600)
        assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600

    def test_a_failure_leaves_what_was_there(self, tmp_path, monkeypatch):
        files.write(tmp_path / "file", b"before")

        def full(_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            files.write(tmp_path / "file", b"after")
        assert (tmp_path / "file").read_bytes() == b"before"
        assert names(tmp_path) == ["file"]

    def test_content_is_on_disk_before_the_name_and_the_name_before_the_return(self, tmp_path, monkeypatch):
        events = []
        fsync, replace = os.fsync, os.replace

        def note_sync(descriptor):
            events.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content")
            fsync(descriptor)

        def note_rename(draft, target):
            events.append("rename")
            replace(draft, target)

        monkeypatch.setattr(os, "fsync", note_sync)
        monkeypatch.setattr(os, "replace", note_rename)
        files.write(tmp_path / "file", b"content")
        assert events == ["content", "rename", "folder"]


class TestReading:
    @pytest.mark.parametrize("size", [0, 1, 2**16, 3 * 2**20])
    def test_all_of_a_file_is_read(self, tmp_path, size):
        content = os.urandom(size)
        (tmp_path / "file").write_bytes(content)
        assert files.read_regular(tmp_path / "file") == content

    def test_so_is_what_was_written_since_its_size_was_looked_up(self, tmp_path, monkeypatch):
        (tmp_path / "file").write_bytes(b"0123456789")
        monkeypatch.setattr(files, "_opened", lambda path, follow: (os.open(path, os.O_RDONLY), 3))
        assert files.read_regular(tmp_path / "file") == b"0123456789"

    def test_what_is_no_file_is_refused_and_nobody_waits_for_it(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "link").symlink_to(tmp_path / "file")
        (tmp_path / "file").write_bytes(b"content")
        for path in (tmp_path / "pipe", tmp_path, tmp_path / "nothing", tmp_path / "\0"):
            with pytest.raises(OSError):
                files.read_regular(path)
        assert files.read_regular(tmp_path / "link") == b"content"
        with pytest.raises(OSError, match="no regular file"):
            files.read_regular(tmp_path / "link", follow=False)


class TestFolders:
    def test_it_replaces_another(self, target):
        with files.draft(target) as path:
            folder(path, "new")
        assert [file.read_text() for file in sorted(target.iterdir())] == ["new", "new"]
        assert names(target.parent) == ["target"]

    def test_a_block_that_fails_leaves_what_was_there(self, target):
        with pytest.raises(ZeroDivisionError), files.draft(target) as path:
            folder(path, "new")
            _ = 1 / 0
        assert [file.read_text() for file in sorted(target.iterdir())] == ["old", "old"]
        assert names(target.parent) == ["target"]

    def test_a_rename_that_fails_leaves_what_was_there(self, target, monkeypatch):
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
        rename = Path.rename

        def refuse(self, other):
            if self.name.startswith(".draft") and not self.name.endswith("-old"):
                raise OSError(errno.ENOTEMPTY if other.exists() else errno.EIO, "refused")
            return rename(self, other)

        monkeypatch.setattr(Path, "rename", refuse)
        with pytest.raises(OSError, match="refused"), files.draft(target) as path:
            folder(path, "new")
        assert [file.read_text() for file in sorted(target.iterdir())] == ["old", "old"]

    def test_the_first_of_two_stays_where_asked(self, target):
        with files.draft(target, keep_existing=True) as path:
            folder(path, "new")
        assert [file.read_text() for file in sorted(target.iterdir())] == ["old", "old"]
        assert names(target.parent) == ["target"]

    def test_a_reader_finds_a_folder_at_every_moment(self, tmp_path):
        """Only an exchange can promise this; Linux and macOS have one, on their usual file systems."""
        target = tmp_path / "target"
        with files.draft(target) as path:
            folder(path, "0")
        missing, ended = [], threading.Event()

        def read() -> None:
            while not ended.is_set():
                if not target.exists():
                    missing.append(target)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            for version in range(200):
                with files.draft(target) as path:
                    folder(path, str(version))
        finally:
            ended.set()
            reader.join()
        assert not missing
        assert (target / "two").read_text() == "199"


class TestManyFiles:
    def test_all_are_written_or_replaced_and_synced_with_their_folders(self, tmp_path, monkeypatch):
        synced: set[tuple[int, int]] = set()
        fsync = os.fsync

        def noted(descriptor: int) -> None:
            status = os.fstat(descriptor)
            synced.add((status.st_dev, status.st_ino))
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", noted)
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "1").write_bytes(b"old")
        contents = {tmp_path / folder / name: name.encode() * 100_000 for folder in "ab" for name in "12"}
        files.write_many(contents)
        assert {path: path.read_bytes() for path in contents} == contents
        assert [sorted(names(tmp_path / folder)) for folder in "ab"] == [["1", "2"], ["1", "2"]]
        for path in (*contents, tmp_path / "a", tmp_path / "b"):
            assert (path.stat().st_dev, path.stat().st_ino) in synced

    def test_a_failure_leaves_no_draft_and_no_half_file(self, tmp_path, monkeypatch):
        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        (tmp_path / "1").write_bytes(b"old")
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            files.write_many({tmp_path / "1": b"new", tmp_path / "2": b"new"})
        assert names(tmp_path) == ["1"]
        assert (tmp_path / "1").read_bytes() == b"old"

    def test_none_are_no_work(self, tmp_path):
        files.write_many({})
        assert names(tmp_path) == []
