"""The program on the real system: every command does what its help says, twice over where that must change nothing."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.conftest import Program, RunningStack
from tests.processes import wait_for


def photos(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.jpg")) + sorted(folder.rglob("*.png"))


class TestOnARunningSystem:
    """`lookalike up` runs elsewhere; its commands find it by the home."""

    def test_index_adds_nothing_twice(self, stack: RunningStack, at_stack: Program) -> None:
        again = at_stack("index", stack.photos, "--json")
        assert again.status == 0
        assert set(again.report) >= {"job", "added", "unchanged", "failed", "seconds", "failures"}
        count = len(photos(stack.photos))
        assert (again.report["added"], again.report["unchanged"], again.report["failed"]) == (0, count, 0)
        assert "starting" not in again.errors  # it used what runs

    def test_search_finds_the_photo_itself_first(self, stack: RunningStack, at_stack: Program) -> None:
        query = photos(stack.photos)[7]
        report = at_stack("search", query, "-k", "6", "--json").report
        assert set(report) >= {"model", "collection", "results"}
        assert [result["rank"] for result in report["results"]] == [1, 2, 3, 4, 5, 6]
        first = report["results"][0]
        assert set(first) == {"rank", "id", "path", "label", "similarity", "distance", "probability", "verdict"}
        assert first["path"] == str(query)
        assert first["similarity"] >= 0.999
        assert first["label"] == query.parent.name

    def test_search_shows_people_a_table(self, stack: RunningStack, at_stack: Program) -> None:
        query = photos(stack.photos)[0]
        shown = at_stack("search", query, "-k", "3", "--label", query.parent.name).output.split("\n")
        assert shown[0].split() == ["rank", "similarity", "label", "photo"]
        assert shown[1].split()[0:2] == ["1", "1.000"]
        assert str(query) in shown[1]
        assert all(query.parent.name in line for line in shown[1:4])

    def test_search_with_something_else_says_what_it_is(self, at_stack: Program, tmp_path: Path) -> None:
        (tmp_path / "letter.jpg").write_text("Dear Sir or Madam")
        refused = at_stack("search", tmp_path / "letter.jpg", "--json")
        assert refused.status == 1
        assert refused.output == ""
        assert refused.errors.strip().split("\n")[-1].startswith(f"error: {tmp_path / 'letter.jpg'} is no image")

    def test_a_photo_is_added_labelled_found_and_deleted(
        self, stack: RunningStack, at_stack: Program, tmp_path: Path
    ) -> None:
        photo = tmp_path / "own" / "mine.jpg"
        photo.parent.mkdir()
        from PIL import Image

        Image.effect_mandelbrot((120, 90), (-2, -1, 1, 1), 50).convert("RGB").save(photo)
        assert at_stack("index", photo, "--label-from", "none", "--json").report["added"] == 1
        found = at_stack("search", photo, "-k", "1", "--json").report["results"][0]
        assert found["label"] is None
        labelled = at_stack("label", found["id"], "--as", "fractal", "--json")
        assert labelled.report["labelled"] == 1
        assert at_stack("search", photo, "--label", "fractal", "--json").report["results"][0]["id"] == found["id"]
        # The folder's name does not replace what a person chose.
        assert at_stack("index", photo, "--json").report["unchanged"] == 1
        assert at_stack("search", photo, "-k", "1", "--json").report["results"][0]["label"] == "fractal"
        assert at_stack("delete", found["id"], "--json").report["deleted"] == 1
        listed = at_stack("trash", "--json").report["images"]
        assert found["id"] in {image["id"] for image in listed}
        assert at_stack("trash", "restore", found["id"], "--json").report["restored"] == 1
        assert stack.client.image(found["id"]).label == "fractal"
        assert at_stack("delete", found["id"], "--json").report["deleted"] == 1
        assert at_stack("search", photo, "-k", "1", "--json").report["results"][0]["id"] != found["id"]
        assert at_stack("verify", "--json").report["missing"] == 0

    @pytest.mark.parametrize("change", [["label", "--as", "lime"], ["delete"]], ids=["label", "delete"])
    def test_a_photo_that_does_not_exist_is_named(self, at_stack: Program, change: list[str]) -> None:
        refused = at_stack(change[0], "0" * 32, *change[1:])
        assert refused.status == 1
        assert refused.errors.startswith(f"error: nothing was changed: {'0' * 32}: it is not in the gallery any more")

    def test_status_says_what_serves_and_why(self, stack: RunningStack, at_stack: Program) -> None:
        report = at_stack("status", "--json").report
        assert report["healthy"] and report["running"]
        assert report["portal"] == stack.base_url
        assert report["workers"][0]["why"]
        words = at_stack("status").output
        assert words.startswith("everything works\n")
        assert stack.base_url in words

    def test_status_keeps_the_password_of_the_queue(self, stack: RunningStack, at_stack: Program) -> None:
        password = urlsplit(stack.settings.redis_url).password
        assert password
        assert len(password) > 20
        assert password not in at_stack("status").output + at_stack("status", "--json").output

    def test_a_second_system_on_the_home_is_refused(self, stack: RunningStack, at_stack: Program) -> None:
        refused = at_stack("up", "--port", "0")
        assert refused.status == 1
        assert f"{stack.base_url})" in refused.errors

    def test_a_second_worker_on_the_embedded_store_says_so(self, at_stack: Program) -> None:
        refused = at_stack("worker")
        assert refused.status == 1
        last = refused.errors.strip().split("\n")
        assert any("another process" in line or "owns" in line for line in last), refused.errors
        assert last[-1].startswith("hint: ")


class TestOnItsOwn:
    """Nothing runs: a command brings the embedded parts up for its own duration."""

    def test_what_was_indexed_is_there_for_the_next_command(self, lookalike: Program, demo_photos: Path) -> None:
        folder = sorted(demo_photos.iterdir())[0]
        added = lookalike("index", folder, "--json")
        assert added.status == 0, added.errors
        assert added.report["added"] == len(photos(folder))
        assert "starting the worker" in added.errors
        found = lookalike("search", photos(folder)[0], "--json")
        assert found.report["results"][0]["path"] == str(photos(folder)[0])

    def test_broken_files_are_listed_and_stop_nothing(
        self, lookalike: Program, demo_photos: Path, tmp_path: Path
    ) -> None:
        mixed = tmp_path / "mixed"
        mixed.mkdir()
        good = photos(demo_photos)[0]
        shutil.copy(good, mixed / "good.jpg")
        (mixed / "empty.jpg").touch()
        (mixed / "half.jpg").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
        (mixed / "page.png").write_text("<html>")
        finished = lookalike("index", mixed, "--json")
        assert finished.status == 0
        assert (finished.report["added"], finished.report["failed"]) == (1, 3)
        failures = {Path(failure["path"]).name: failure["reason"] for failure in finished.report["failures"]}
        assert set(failures) == {"empty.jpg", "half.jpg", "page.png"}
        assert all(failures.values())

    @pytest.mark.photos
    def test_every_odd_upload_is_accepted_or_refused_with_a_reason(self, lookalike: Program, odd: Path) -> None:
        finished = lookalike("index", odd, "--json")
        assert finished.status == 0
        failures = {Path(failure["path"]).name: failure["reason"] for failure in finished.report["failures"]}
        names = {path.name for path in odd.iterdir()}
        bad = {name for name in names if name.startswith("bad")} - {"bad_bit_rot.jpg"}
        assert bad <= set(failures) <= bad | {"bad_bit_rot.jpg"}
        assert finished.report["added"] + finished.report["failed"] == len(names)

    def test_an_interrupted_index_goes_on_when_it_is_run_again(
        self, lookalike: Program, demo_photos: Path, tmp_path: Path
    ) -> None:
        many = _copies(demo_photos, tmp_path / "many", times=10)
        process = lookalike.start("index", many, "--json")
        assert process.stderr
        assert any("indexing" in line for line in process.stderr)
        kept = lookalike.home / "storage" / "metadata"
        wait_for(lambda: kept.exists() and any(kept.iterdir()))
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
        assert process.returncode == 130, errors
        assert output == ""
        assert "error: interrupted" in errors
        count = len(photos(many))
        report = lookalike("index", many, "--json").report
        assert (report["added"] + report["unchanged"], report["failed"]) == (count, 0)
        assert report["added"] > 0
        assert lookalike("index", many, "--json").report["unchanged"] == count

    def test_verify_finds_and_repairs_what_is_missing(self, lookalike: Program, demo_photos: Path) -> None:
        folder = sorted(demo_photos.iterdir())[0]
        lookalike("index", folder)
        record = next((lookalike.home / "storage" / "metadata").rglob("*.json"))
        record.unlink()  # storage is the truth: this image no longer exists
        found = lookalike("verify", "--json")
        assert (found.status, found.report["extra"]) == (1, 1)
        assert "lookalike verify --repair" in found.errors
        assert lookalike("verify", "--repair", "--json").status == 0
        assert lookalike("verify", "--json").report["extra"] == 0

    def test_status_starts_the_parts_and_says_so(self, lookalike: Program) -> None:
        words = lookalike("status").output
        assert words.startswith("nothing was running here")
        assert "everything works" in words


class TestDemo:
    """The two commands of the README's first screen end here."""

    def test_once_prints_ranked_results_and_stops(self, new_program: Callable[..., Program], demo_photos: Path) -> None:
        program = new_program()
        del program.environment["LOOKALIKE_HOME"]
        before = {path: path.stat().st_mtime_ns for path in demo_photos.rglob("*")}
        finished = program("demo", "--photos", demo_photos, "--once", "--port", "8000")
        assert finished.status == 0, finished.errors
        assert "rank  similarity" in finished.output
        assert "\n1     1.000" in finished.output
        assert {path: path.stat().st_mtime_ns for path in demo_photos.rglob("*")} == before
        assert (program.folder / ".lookalike" / "storage").is_dir()
        assert not (program.folder / ".lookalike" / "run" / "stack.json").exists()

    def test_it_draws_photos_of_its_own(self, lookalike: Program) -> None:
        finished = lookalike("demo", "--once", "--json")
        assert finished.status == 0, finished.errors
        report = finished.report
        assert report["index"]["added"] >= 500
        assert report["index"]["failed"] == 0
        assert report["search"]["results"][0]["similarity"] >= 0.999
        assert report["portal"].startswith("http://127.0.0.1:")
        (folder,) = lookalike("coverage", "--json").report["folders"]
        assert folder["indexed"] == report["index"]["added"]
        assert folder["is_complete"]

    def test_a_folder_without_photos_is_named(self, lookalike: Program, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        refused = lookalike("demo", "--photos", tmp_path / "empty", "--once")
        assert refused.status == 1
        assert "error: there are no photos in" in refused.errors


@pytest.mark.photos
def test_search_of_a_real_photo_finds_itself_and_its_kind(lookalike: Program, grocery: Path) -> None:
    limes = grocery / "test" / "Lime"
    lookalike("index", limes, grocery / "test" / "Papaya")
    query = photos(limes)[3]
    results = lookalike("search", query, "-k", "6", "--json").report["results"]
    assert results[0]["path"] == str(query)
    assert results[0]["similarity"] >= 0.999
    assert results[1]["label"] == "Lime"


def _copies(folder: Path, many: Path, times: int) -> Path:
    """Photos that differ in a few trailing bytes, which decoders ignore: as many different ids."""
    for number in range(times):
        for photo in photos(folder):
            copy = many / f"{number}" / photo.parent.name / photo.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(photo.read_bytes() + json.dumps(number).encode())
    return many
