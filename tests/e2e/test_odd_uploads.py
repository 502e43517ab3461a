"""Every file of ../shared/data/odd through the API and the page: good ones found, bad ones named, nothing breaks."""

import re
from pathlib import Path

import pytest
import requests

from tests.e2e.conftest import RunningStack

pytestmark = pytest.mark.photos


def names(odd: Path, prefixes: tuple[str, ...]) -> list[Path]:
    return sorted(path for path in odd.iterdir() if path.name.startswith(prefixes) and path.name != "bad_bit_rot.jpg")


def peak_mb(stack: RunningStack) -> float:
    """Most memory that the worker ever had."""
    pid = stack.client.status().workers[0].pid
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("peak memory is read from /proc")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 1024


def api(stack: RunningStack, path: str, files: list[tuple[str, Path]], **fields: str) -> requests.Response:
    parts = [(part, (file.name, file.read_bytes())) for part, file in files]
    return requests.post(f"{stack.base_url}/api/v1/{path}", files=parts, data=fields, timeout=60)


def page(stack: RunningStack, file: Path) -> requests.Response:
    """The search page's plain form, as a browser without JavaScript sends it."""
    with requests.Session() as browser:
        form = browser.get(stack.base_url, timeout=60).text
        fields = {"csrf_token": re.search(r'name="csrf_token" value="([^"]+)"', form)[1]}
        files = {"image": (file.name, file.read_bytes())}
        return browser.post(stack.base_url, files=files, data=fields, timeout=60)


def test_good_ones_can_be_searched_with(stack, odd):
    for file in names(odd, ("good", "tiny", "extreme")):
        answer = api(stack, "search", [("image", file)])
        assert answer.status_code == 200, (file.name, answer.text)
        assert answer.json()["results"], file.name
        assert page(stack, file).status_code == 200, file.name


def test_bad_ones_are_refused_by_name_with_the_reason(stack, odd):
    before = peak_mb(stack)
    worker = stack.client.status().workers[0].pid
    for file in names(odd, ("bad",)):
        answer = api(stack, "search", [("image", file)])
        assert 400 <= answer.status_code < 500, (file.name, answer.text)
        assert answer.headers["Content-Type"] == "application/problem+json"
        problem = answer.json()
        assert problem["detail"].startswith(f"{file.name} ")
        assert problem["hint"]
        shown = page(stack, file)
        assert shown.status_code == answer.status_code
        assert file.name in shown.text
    assert stack.client.status().workers[0].pid == worker, "the worker was restarted"
    assert peak_mb(stack) - before < 200


def test_bit_rot_is_answered_one_way_or_the_other(stack, odd):
    answer = api(stack, "search", [("image", odd / "bad_bit_rot.jpg")])
    assert answer.status_code in (200, 422)


def test_one_upload_of_all_keeps_the_good_and_names_the_bad(stack, odd):
    files = names(odd, ("good", "bad", "tiny", "extreme"))
    answer = api(stack, "images", [("images", file) for file in files], label="odd", wait_s="30")
    assert answer.status_code == 201, answer.text
    outcomes = {each["file"]: each for each in answer.json()["images"]}
    for file in files:
        outcome = outcomes[file.name]
        if file.name.startswith("bad"):
            assert outcome["outcome"] == "refused", file.name
            assert outcome["reason"]
        else:
            assert outcome["outcome"] in ("added", "unchanged"), outcome
            found = requests.post(
                f"{stack.base_url}/api/v1/search", json={"id": outcome["id"], "k": 1}, timeout=60
            ).json()["results"]
            assert found[0]["similarity"] >= 0.999
            thumbnail = requests.get(f"{stack.base_url}/api/v1/images/{outcome['id']}/thumbnail", timeout=60)
            assert thumbnail.headers["Content-Type"] == "image/jpeg"
    kept = [each["id"] for each in outcomes.values() if each["id"]]
    stack.client.delete(list(dict.fromkeys(kept)))


def test_each_bad_one_alone_is_422_or_413(stack, odd):
    for file in names(odd, ("bad",)):
        answer = api(stack, "images", [("images", file)])
        assert answer.status_code in (413, 422), (file.name, answer.text)
        assert answer.json()["errors"][0]["file"] == file.name


def test_a_rotated_photo_and_its_upright_twin_are_alike(stack, odd):
    twins = [odd / "good_exif_rotated.jpg", odd / "good_upright_of_exif_rotated.jpg"]
    kept = api(stack, "images", [("images", twins[1])]).json()["images"][0]["id"]
    results = api(stack, "search", [("image", twins[0])], k="1").json()["results"]
    assert (results[0]["id"], results[0]["similarity"] > 0.97) == (kept, True)
    stack.client.delete([kept])
