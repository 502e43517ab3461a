"""The Python of docs/how-to/use-from-python.md runs as it stands there, from top to bottom."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents import ROOT, python_blocks

PAGE = ROOT / "docs" / "how-to" / "use-from-python.md"


@pytest.fixture(scope="module")
def folder(demo_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photos/train, photos/test and photo.jpg, as the page's reader has them."""
    made = tmp_path_factory.mktemp("reader")
    classes = sorted(path for path in demo_photos.iterdir() if path.is_dir())
    for number, path in enumerate(classes):
        shutil.copytree(path, made / "photos" / ("train" if number % 2 else "test") / path.name)
    shutil.copy(next(classes[0].glob("*.jpg")), made / "photo.jpg")
    return made


@pytest.mark.parametrize("number", range(len(python_blocks(PAGE))))
def test_a_block_of_the_page_runs(number: int, folder: Path) -> None:
    code = python_blocks(PAGE)[number]
    (folder / "block.py").write_text(code)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *(torchrun if "init_process_group" in code else ()), "block.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    if number == 0:
        query, *rest = done.stdout.split()
        assert query in rest[0]  # the first photo finds itself
