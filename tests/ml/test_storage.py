"""Files that are whole or absent: one contract for a folder, a bucket and fsspec's memory."""

import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.storage import LocalStorage, Storage, StorageFailed, open_storage

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["file", "memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        return f"file://{tmp_path}/storage"
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}"
    return f"{request.getfixturevalue('bucket')}/{uuid.uuid4().hex}"


@pytest.fixture
def storage(url: str) -> Storage:
    return open_storage(url)


class _Silent(BaseHTTPRequestHandler):
    """Asks for the body that a client announces, and says nothing after it."""

    protocol_version = "HTTP/1.1"
    end = threading.Event()

    def do_PUT(self) -> None:
        self.end.wait()
        self.close_connection = True


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leads `s3://` to a server that takes objects and never answers."""
    import s3fs

    _Silent.end.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Silent) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        s3fs.S3FileSystem.clear_instance_cache()  # an instance keeps its endpoint
        yield
        s3fs.S3FileSystem.clear_instance_cache()
        _Silent.end.set()
        server.shutdown()


class TestEveryStorage:
    def test_what_was_put_comes_back(self, storage):
        storage.put("originals/ab/abc", b"\x00\xffpixels")
        assert storage.get("originals/ab/abc") == b"\x00\xffpixels"
        assert storage.exists("originals/ab/abc")

    def test_another_process_sees_it_at_once(self, storage, url):
        assert list(storage.keys("")) == []
        open_storage(url).put("a/new", b"1")
        assert list(storage.keys("")) == ["a/new"]
        assert storage.exists("a/new")

    def test_a_second_put_replaces_the_first(self, storage):
        storage.put("active.json", b"a longer value")
        storage.put("active.json", b"short")
        assert storage.get("active.json") == b"short"
        assert list(storage.keys("")) == ["active.json"]

    def test_an_empty_file_is_a_file(self, storage):
        storage.put("empty", b"")
        assert storage.get("empty") == b"" and storage.exists("empty")

    @pytest.mark.parametrize("key", ["missing", "no/such/folder/missing"])
    def test_what_is_not_there_is_said_by_one_error(self, storage, key):
        assert not storage.exists(key)
        with pytest.raises(FileNotFoundError):
            storage.get(key)
        storage.delete(key)

    def test_what_was_deleted_is_gone(self, storage):
        storage.put("a/one", b"1")
        storage.put("a/two", b"2")
        storage.delete("a/one")
        assert not storage.exists("a/one")
        assert list(storage.keys("a")) == ["a/two"]

    def test_what_a_local_file_holds_is_kept_whatever_becomes_of_the_file(self, storage, tmp_path):
        source = tmp_path / "photo.jpg"
        source.write_bytes(b"jpeg")
        storage.put("originals/photo", b"jpeg", same_as=source)
        with source.open("r+b") as file:  # in place, as editors of EXIF data do
            file.write(b"JUNK")
        assert storage.get("originals/photo") == b"jpeg"
        storage.put("originals/photo", b"jpeg", same_as=source)
        assert storage.get("originals/photo") == b"jpeg"

    def test_a_local_file_that_is_gone_by_now_is_not_needed(self, storage, tmp_path):
        storage.put("originals/photo", b"jpeg", same_as=tmp_path / "missing.jpg")
        assert storage.get("originals/photo") == b"jpeg"

    def test_sizes_are_told(self, storage):
        storage.put("file", b"1234")
        assert (storage.size("file"), storage.size("missing")) == (4, None)

    def test_one_holder_of_a_lock_at_a_time(self, storage, url):
        counted = []

        def count() -> None:
            for _ in range(20):
                with storage.lock("a"):
                    before = len(counted)
                    time.sleep(0)
                    counted.append(before)

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda _: count(), range(4)))
        assert counted == list(range(80))

    def test_keys_come_in_order_and_from_below_the_folder_alone(self, storage):
        keys = ["a-b/x", "a.json", "a/b/c", "a/b.txt", "a/z", "ab/x", "z"]
        for key in reversed(keys):
            storage.put(key, b"")
        assert list(storage.keys("")) == sorted(keys)
        assert list(storage.keys("a")) == ["a/b.txt", "a/b/c", "a/z"]
        assert list(storage.keys("missing")) == []

    def test_keys_may_hold_what_names_hold(self, storage):
        for key in ("with space/ä ö", "per%20cent", "hash#1", "question?"):
            storage.put(key, key.encode())
            assert storage.get(key) == key.encode()
            assert storage.exists(key)
        assert len(list(storage.keys(""))) == 4

    def test_readers_see_the_old_content_or_the_new(self, storage):
        contents = [bytes([letter]) * 50_000 for letter in b"ab"]
        storage.put("file", contents[0])

        def write(turn: int) -> None:
            storage.put("file", contents[turn % 2])

        with ThreadPoolExecutor(4) as threads:
            writing = [threads.submit(write, turn) for turn in range(20)]
            reading = [threads.submit(storage.get, "file") for _ in range(40)]
        assert all(future.exception() is None for future in writing)
        assert all(future.result() in contents for future in reading)


class TestLocalStorage:
    @pytest.fixture
    def storage(self, tmp_path: Path) -> LocalStorage:
        return LocalStorage(tmp_path / "storage")

    def test_a_file_lies_where_its_key_says(self, storage):
        storage.put("a/b", b"1")
        assert storage.local_path("a/b").read_bytes() == b"1"

    def test_a_path_without_a_scheme_is_a_folder(self, tmp_path):
        open_storage(str(tmp_path / "storage")).put("a/b", b"1")
        assert open_storage(f"file://{tmp_path}/storage").get("a/b") == b"1"

    def test_blocks_are_shared_where_the_file_system_can(self, storage, tmp_path, monkeypatch):
        asked = []

        def clone(source: Path, target: Path) -> bool:
            asked.append(source)
            target.write_bytes(source.read_bytes())
            return True

        monkeypatch.setattr("ml.storage.clone", clone)
        (tmp_path / "photo.jpg").write_bytes(b"jpeg")
        (tmp_path / "link.jpg").symlink_to(tmp_path / "photo.jpg")
        storage.put("kept", b"jpeg", same_as=tmp_path / "link.jpg")
        assert asked == [tmp_path / "link.jpg"]
        assert storage.get("kept") == b"jpeg" and not storage.local_path("kept").is_symlink()

    def test_a_file_that_changed_since_it_was_read_is_not_shared(self, storage, tmp_path, monkeypatch):
        monkeypatch.setattr("ml.storage.clone", lambda source, target: bool(target.write_bytes(b"newer")))
        storage.put("kept", b"jpeg", same_as=tmp_path / "photo.jpg")
        assert storage.get("kept") == b"jpeg"

    def test_a_lock_holds_between_processes(self, storage):
        code = (
            "import sys; from pathlib import Path; from ml.storage import LocalStorage\n"
            "with LocalStorage(Path(sys.argv[1])).lock('a'):\n"
            "    print('held', flush=True); sys.stdin.read()"
        )
        command = [sys.executable, "-c", code, str(storage.root)]
        taken = threading.Event()

        def take() -> None:
            with storage.lock("a"):
                taken.set()

        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
            taking = threading.Thread(target=take)
            taking.start()
            assert not taken.wait(0.2)
            holder.communicate(b"")
            taking.join()
        assert taken.is_set()
        assert list(storage.keys("")) == []

    def test_a_file_that_cannot_be_read_is_an_error_that_says_so(self, storage):
        (storage.root / "folder").mkdir(parents=True)
        with pytest.raises(StorageFailed, match=r"cannot read .*folder"):
            storage.get("folder")

    def test_a_write_that_fails_keeps_the_old_file_and_leaves_no_draft(self, storage, monkeypatch):
        storage.put("folder/file", b"old")

        def full(_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StorageFailed, match=r"cannot write to .*: No space left on device") as caught:
            storage.put("folder/file", b"new")
        assert caught.value.hint
        assert storage.get("folder/file") == b"old"
        assert [path.name for path in (storage.root / "folder").iterdir()] == ["file"]

    def test_a_file_in_the_place_of_a_folder_is_an_error(self, storage):
        storage.put("a", b"a file")
        with pytest.raises(StorageFailed):
            storage.put("a/b", b"1")

    def test_drafts_and_other_hidden_files_are_no_keys(self, storage):
        storage.put("a/file", b"1")
        (storage.root / "a" / ".draft").write_bytes(b"half")
        assert list(storage.keys("")) == ["a/file"]

    def test_a_writer_that_is_killed_leaves_the_old_file(self, storage):
        storage.put("file", b"old")
        code = (
            "import os, signal, sys; from pathlib import Path; from ml.storage import LocalStorage\n"
            "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
            "LocalStorage(Path(sys.argv[1])).put('file', b'new')"
        )
        child = subprocess.run([sys.executable, "-c", code, str(storage.root)], cwd=ROOT)
        assert child.returncode == -9
        assert storage.get("file") == b"old"
        assert list(storage.keys("")) == ["file"]


_NAMES = st.text("ab-./0", min_size=1, max_size=3).filter(lambda name: "/" not in name and not name.startswith("."))


@settings(max_examples=25, deadline=None)
@given(st.sets(st.lists(_NAMES, min_size=1, max_size=3).map("/".join), max_size=8))
def test_a_folder_lists_keys_in_the_order_of_an_object_store(tmp_path_factory, keys):
    storage, kept = LocalStorage(tmp_path_factory.mktemp("storage")), set()
    for key in keys:
        if not any(key.startswith(f"{other}/") or other.startswith(f"{key}/") for other in kept):
            storage.put(key, b"")
            kept.add(key)
    assert list(storage.keys("")) == sorted(kept)


class TestObjectStorage:
    def test_a_bucket_that_is_not_there_is_an_error_with_its_address(self, bucket):
        with pytest.raises(StorageFailed, match="the storage s3://no-such-bucket is not there"):
            open_storage("s3://no-such-bucket").put("a", b"1")

    def test_a_store_that_falls_silent_in_the_middle_of_a_put_is_given_up_on(self, silent, monkeypatch):
        monkeypatch.setattr("ml.storage._PUT_S", 1.0)
        with pytest.raises(StorageFailed, match="does not answer: no answer within 1 s") as failed:
            open_storage("s3://silent/gallery").put("a", b"1")
        assert failed.value.passes

    def test_an_address_of_no_known_kind_is_an_error(self):
        with pytest.raises(StorageFailed, match="cannot open the storage"):
            open_storage("nonsense://somewhere")

    def test_it_lies_on_no_machine_of_ours(self, bucket):
        assert open_storage(bucket).local_path("a") is None
