"""A gallery goes elsewhere and comes back whole: backup, restore, migration to servers."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from ml.storage import open_storage
from tests.e2e.conftest import ROOT, Program
from tests.e2e.test_stack import up
from tests.processes import free_port, listens, wait_for
from workers.gallery import image_id
from workers.store.archive import Archive
from workers.tasks.transfer import checksum


@pytest.fixture
def qdrant_url(tmp_path: Path) -> Iterator[str]:
    """The server that LOOKALIKE_QDRANT_URL names, or Qdrant's HTTP interface as a process of its own."""
    if named := os.environ.get("LOOKALIKE_QDRANT_URL"):
        yield named
        return
    port = free_port()
    command = [sys.executable, "-m", "tests.qdrant_over_http", str(port), str(tmp_path / "qdrant")]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as server:
        wait_for(lambda: listens(port))
        yield f"http://127.0.0.1:{port}"
        server.terminate()


def contents(archive: Path) -> tuple[dict[str, str], dict[str, str]]:
    """SHA-256 of every file of the gallery, and of ids, vectors and payloads of every collection."""
    files = {
        str(path.relative_to(archive)): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in ("originals", "thumbnails", "metadata")
        for path in (archive / folder).rglob("*")
        if path.is_file()
    }
    points = Archive(open_storage(f"file://{archive}"))
    prefixes = [f"{n:02x}" for n in range(256)]
    return files, {
        name: checksum(point for prefix in prefixes for point in points.read(name, prefix))
        for name in points.collections()
    }


def models(archive: Path) -> dict[str, bytes]:
    """Every file of every model; which one is active since when is beside them."""
    folder = archive / "models"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*/*") if path.is_file()}


def run(program: Program, *arguments: str | Path) -> None:
    finished = program(*arguments)
    assert finished.status == 0, finished.errors


def test_a_restored_gallery_is_the_same_to_the_last_byte_and_a_later_backup_follows_it(
    at_stack: Program, new_program: Callable[..., Program], demo_photos: Path, tmp_path: Path
) -> None:
    archive, again = tmp_path / "archive", tmp_path / "again"
    run(at_stack, "backup", archive)
    elsewhere = new_program()
    up(elsewhere)
    run(elsewhere, "restore", archive)
    run(elsewhere, "backup", again)
    files, points = contents(archive)
    assert points
    assert sum(name.startswith("originals/") for name in files) >= len(list(demo_photos.rglob("*.jpg")))
    assert contents(again) == (files, points)
    assert models(again) == models(archive)
    run(elsewhere, "trash", "empty")  # what other tests of this system left there
    run(elsewhere, "backup", again)
    files, _ = contents(again)
    run(elsewhere, "delete", image_id(next(demo_photos.rglob("*.jpg")).read_bytes()))
    run(elsewhere, "backup", again)
    left, _ = contents(again)
    assert sorted(name.split("/")[0] for name in set(files) - set(left)) == ["metadata"]  # it lies in the trash
    run(elsewhere, "trash", "empty")
    run(elsewhere, "backup", again)
    left, _ = contents(again)
    assert sorted(name.split("/")[0] for name in set(files) - set(left)) == ["metadata", "originals", "thumbnails"]
    assert left.items() <= files.items()


def test_an_empty_gallery_does_not_empty_a_backup(
    at_stack: Program, new_program: Callable[..., Program], tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    run(at_stack, "backup", archive)
    before = contents(archive)
    refused = new_program()("backup", archive)
    assert refused.status == 1
    assert "holds the backup of another gallery, whose photos it would remove" in refused.errors
    assert contents(archive) == before


@pytest.mark.parametrize(
    "command, message",
    [
        (("backup", "/proc/nowhere"), "error: cannot write to /proc/nowhere"),
        (("migrate", "--to-storage", "/proc/nowhere"), "error: cannot write to /proc/nowhere"),
        (
            ("migrate", "--to-qdrant", "http://127.0.0.1:9"),
            "error: the vector store does not answer at http://127.0.0.1:9",
        ),
        (("restore", "/proc/nowhere"), "error: there is no complete backup at file:///proc/nowhere"),
    ],
)
def test_a_place_that_cannot_be_used_is_said_at_once(at_stack: Program, command: tuple[str, ...], message: str) -> None:
    refused = at_stack(*command, timeout_s=60)
    assert refused.status == 1
    assert message in refused.errors


def test_an_embedded_home_moves_to_servers(
    at_stack: Program, new_program: Callable[..., Program], demo_photos: Path, qdrant_url: str, tmp_path: Path
) -> None:
    archive, again = tmp_path / "archive", tmp_path / "again"
    storage = f"file://{tmp_path / 'storage'}"
    run(at_stack, "backup", archive)
    run(at_stack, "migrate", "--to-qdrant", qdrant_url, "--to-storage", storage)
    there = new_program(LOOKALIKE_QDRANT_URL=qdrant_url, LOOKALIKE_STORAGE=storage)
    photo = sorted(demo_photos.rglob("*.jpg"))[5]
    up(there)
    found = [program("search", photo, "--json", "-k", "5").report for program in (at_stack, there)]
    assert [r["id"] for r in found[0]["results"]] == [r["id"] for r in found[1]["results"]]
    verified = there("verify", "--json").report
    assert (verified["missing"], verified["extra"], verified["different"]) == (0, 0, 0)
    run(there, "backup", again)
    files, points = contents(archive)
    moved_files, moved_points = contents(again)
    assert moved_files == files
    assert points.items() <= moved_points.items()  # a server that was named may hold more
    client = QdrantClient(url=qdrant_url, api_key=os.environ.get("LOOKALIKE_QDRANT_API_KEY"), check_compatibility=False)
    for collection in points:
        client.delete_collection(collection)
