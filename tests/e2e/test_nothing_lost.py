"""Nothing lost, nothing false: photos that are edited, doubled and damaged, on the running system."""

import io
import shutil
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.e2e.conftest import Program, RunningStack
from workers.gallery import image_id

pytestmark = pytest.mark.usefixtures("stack")


def photo(seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).resize((320, 240), Image.Resampling.BICUBIC).save(out, "JPEG")
    return out.getvalue()


def write(path: Path, seed: int) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(photo(seed))
    return image_id(photo(seed))


def test_a_photo_that_is_edited_in_place_leaves_the_old_one_as_it_was(
    at_stack: Program, stack: RunningStack, tmp_path: Path
) -> None:
    file = tmp_path / "edited" / "1.jpg"
    before = write(file, 1)
    at_stack("index", file.parent)
    after = write(file, 2)
    assert at_stack("index", file.parent, "--json").report["added"] == 1
    for id, seed in ((before, 1), (after, 2)):
        with urllib.request.urlopen(f"{stack.base_url}/api/v1/images/{id}/original") as answer:
            assert answer.read() == photo(seed)
        assert stack.client.search(photo(seed)).results[0].id == id
    verified = at_stack("verify", "--json")
    assert (verified.status, verified.report["lost"]) == (0, 0), verified.errors


def test_the_same_tree_twice_changes_nothing_whatever_lies_in_it_twice(at_stack: Program, tmp_path: Path) -> None:
    root = tmp_path / "tree"
    for n in range(30):
        write(root / "apples" / f"{n}.jpg", 100 + n)
    shutil.copytree(root / "apples", root / "best")
    first = at_stack("index", root, "--json").report
    assert (first["added"], first["updated"], first["unchanged"], first["failed"]) == (30, 0, 30, 0)
    assert len(first["same_photos"]) == 30
    again = at_stack("index", root, "--json").report
    assert (again["added"], again["updated"], again["unchanged"]) == (0, 0, 60)
    (root / "apples").rename(root / "zebras")
    (root / "best").rename(root / "pears")
    moved = at_stack("index", root, "--json").report
    assert (moved["added"], moved["updated"]) == (0, 30)
    result = at_stack("search", root / "pears" / "1.jpg", "--json").report["results"][0]
    assert (result["path"], result["label"]) == (str(root / "pears" / "1.jpg"), "pears")


def test_damaged_metadata_is_told_mended_and_keeps_nothing_from_working(
    at_stack: Program, stack: RunningStack, tmp_path: Path
) -> None:
    ids = [write(tmp_path / "lime" / f"{n}.jpg", 200 + n) for n in range(2)]
    at_stack("index", tmp_path / "lime")
    for id in ids:
        (stack.settings.home / "storage" / "metadata" / id[:2] / f"{id}.json").write_bytes(b'{"id": "')
    shown, _ = stack.client.images(label="lime")
    assert {image.state for image in shown} == {"damaged"}
    assert "2 stored files are damaged" in " ".join(stack.client.status().problems)
    assert at_stack("delete", ids[0]).status == 0
    named = at_stack("verify", "--json")
    assert (named.status, named.report["damaged"]) == (1, 1)
    assert at_stack("verify", "--repair").status == 0
    assert (stack.client.image(ids[1]).state, stack.client.image(ids[1]).label) == ("ok", "lime")
    assert not stack.client.status().problems
