"""Files that a disk has damaged, and photos that did not stay in place: told, never answered wrongly, and mended."""

import json
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.conftest import Program, RunningStack
from tests.e2e.test_nothing_lost import photo, write
from tests.e2e.test_stack import up
from tests.processes import wait_for

pytestmark = pytest.mark.usefixtures("stack")


def get(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def images(stack: RunningStack, label: str) -> dict[str, str]:
    """id -> state, as the API lists them."""
    status, answer = get(f"{stack.base_url}/api/v1/images?label={label}")
    assert status == 200
    return {image["id"]: image["state"] for image in json.loads(answer)["images"]}


def problems(stack: RunningStack) -> str:
    return " ".join(json.loads(get(f"{stack.base_url}/api/v1/health")[1])["problems"])


@pytest.mark.parametrize("state", ["changed", "missing"])
def test_a_photo_that_did_not_stay_in_place_is_told_and_heals(
    at_stack: Program, stack: RunningStack, tmp_path: Path, state: str
) -> None:
    label, seed = f"in-place-{state}", {"changed": 300, "missing": 310}[state]
    kept, lost = (write(tmp_path / label / f"{n}.jpg", seed + n) for n in range(2))
    file = tmp_path / label / "1.jpg"
    whole = file.read_bytes()
    assert at_stack("index", "--in-place", file.parent, "--json").report["added"] == 2
    assert not (stack.settings.home / "storage" / "originals" / lost[:2] / lost).exists()
    file.unlink()
    if state == "changed":
        write(file, seed + 5)
    assert images(stack, label) == {kept: "ok", lost: state}
    assert "1 stored file is damaged or lost" in problems(stack)
    assert str(file) in problems(stack)
    original = f"{stack.base_url}/api/v1/images/{lost}/original"
    status, answer = get(original)
    assert (status >= 400, status != 500) == (True, True)
    assert str(file) in json.loads(answer)["detail"]
    assert get(f"{stack.base_url}/gallery?label={label}")[0] == 200
    verified = at_stack("verify", "--json")
    assert (verified.status, verified.report["lost"]) == (1, 1)
    assert verified.report["findings"][0]["path"] == str(file)
    file.write_bytes(whole)
    at_stack("index", "--in-place", file.parent)
    assert images(stack, label) == {kept: "ok", lost: "ok"}
    assert get(original) == (200, whole)
    assert at_stack("verify").status == 0
    assert "damaged or lost" not in problems(stack)


def test_truncated_metadata_keeps_no_page_from_working(at_stack: Program, stack: RunningStack, tmp_path: Path) -> None:
    first, second = (write(tmp_path / "truncated" / f"{n}.jpg", 400 + n) for n in range(2))
    at_stack("index", tmp_path / "truncated")
    for id in (first, second):
        record = stack.settings.home / "storage" / "metadata" / id[:2] / f"{id}.json"
        record.write_bytes(record.read_bytes()[:40])
    assert images(stack, "truncated") == {first: "damaged", second: "damaged"}
    for page in ("gallery", "gallery?label=truncated", f"api/v1/images/{first}", f"api/v1/images/{first}/thumbnail"):
        assert get(f"{stack.base_url}/{page}")[0] == 200, page
    assert get(f"{stack.base_url}/api/v1/images/{first}/original") == (200, photo(400))
    assert stack.client.search(photo(400)).results[0].id == first
    assert "2 stored files are damaged" in problems(stack)
    delete = urllib.request.Request(f"{stack.base_url}/api/v1/images/{first}", method="DELETE")
    with urllib.request.urlopen(delete, timeout=20) as answer:
        assert answer.status == 204
    assert images(stack, "truncated") == {second: "damaged"}
    assert at_stack("verify", "--json").report["damaged"] == 1
    assert at_stack("verify", "--repair").status == 0
    assert images(stack, "truncated") == {second: "ok"}
    assert "damaged" not in problems(stack)


class TestHomeThatIsDown:
    """What is damaged while nothing runs."""

    @pytest.fixture(scope="class")
    def limes(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("photos") / "limes"
        for n in range(6):
            write(folder / f"{n}.jpg", 500 + n)
        return folder

    @pytest.fixture(scope="class")
    def whole(self, stack: RunningStack, limes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("whole")
        shutil.copytree(stack.settings.home / "cache", folder / "home" / "cache")
        program = Program(folder / "home", folder, {})
        assert program("index", limes, "--json").report["added"] == 6
        return program.home

    @pytest.fixture
    def home(self, lookalike: Program, whole: Path) -> Path:
        shutil.rmtree(lookalike.home)
        shutil.copytree(whole, lookalike.home)
        return lookalike.home

    @pytest.mark.parametrize("content", [b"", b'{"model": "effi', None], ids=["emptied", "cut short", "gone"])
    def test_what_is_active_comes_back_from_the_history(
        self, lookalike: Program, home: Path, limes: Path, content: bytes | None
    ) -> None:
        file = home / "storage" / "models" / "active.json"
        before = json.loads(file.read_bytes())
        file.unlink() if content is None else file.write_bytes(content)
        process, _ = up(lookalike)
        found = lookalike("search", limes / "2.jpg", "--json").report
        assert (found["model"], found["results"][0]["path"]) == (before["model"], str(limes / "2.jpg"))
        process.terminate()
        _, errors = process.communicate(timeout=20)
        assert ("models/active.json is damaged" in errors) == (content is not None)
        restored = f"restored: model {before['model']}, collection {before['collection']}"
        assert restored in (home / "logs" / "worker.log").read_text()
        after = json.loads(file.read_bytes())
        assert (after["model"], after["collection"]) == (before["model"], before["collection"])

    def test_flipped_bytes_of_vectors_are_noticed_and_mended(self, lookalike: Program, home: Path, limes: Path) -> None:
        (vectors,) = home.glob("qdrant/*/0/segments/*/vector_storage/vectors/chunk_0.mmap")
        stored = np.memmap(vectors, np.uint8, "r+")
        used = int(np.flatnonzero(stored)[-1]) + 1
        stored[:used:3] ^= 0x81
        stored.flush()
        verified = lookalike("verify", "--json")
        assert verified.status == 1
        assert verified.report["wrong"] > 0
        assert {finding["kind"] for finding in verified.report["findings"]} == {"wrong"}
        assert lookalike("verify", "--repair", "--json").report["repaired"]
        assert lookalike("verify").status == 0
        for n in (0, 5):
            found = lookalike("search", limes / f"{n}.jpg", "--json").report["results"][0]
            assert (Path(found["path"]).name, round(found["similarity"], 2)) == (f"{n}.jpg", 1.0)

    def test_a_collection_that_cannot_be_opened_is_made_anew(self, lookalike: Program, home: Path, limes: Path) -> None:
        (segment,) = home.glob("qdrant/*/0/segments/*/segment.json")
        segment.write_bytes(b"")
        _, address = up(lookalike)

        def health() -> dict[str, Any]:
            found: dict[str, Any] = json.loads(get(f"{address}/api/v1/health")[1])
            return found

        wait_for(lambda: health()["images"] == 6 and health()["healthy"])
        found = lookalike("search", limes / "2.jpg", "--json").report["results"][0]
        assert Path(found["path"]).name == "2.jpg"
        assert "is set aside" in (home / "logs" / "worker.log").read_text()
