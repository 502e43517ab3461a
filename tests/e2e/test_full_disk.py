"""A small disk as the home: full, with a worker that dies meanwhile, and then freed. Nothing is done by hand.

The system and whoever uses it run in a namespace of their own, where that file system is mounted.
"""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.e2e.conftest import RunningStack
from tests.file_systems import can_mount, run_within

BACK_S = 60.0
LEFT_BYTES = 25 * 2**20  # for uploads, once the system has started


@pytest.mark.skipif(not can_mount(), reason="file systems cannot be mounted here")
def test_a_full_disk_loses_nothing_and_searches_come_back_once_it_is_freed(stack: RunningStack, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    scenario = [sys.executable, "-m", "tests.e2e.test_full_disk", disk, stack.settings.home / "cache"]
    ended = run_within(disk, "size=200m", scenario, {})
    report = json.loads(ended.stdout.strip().split("\n")[-1]) if ended.stdout else {}
    assert ended.returncode == 0, ended.stderr
    assert report["acknowledged"] > 10
    assert report["lost"] == []
    assert report["refusals"] == [503]
    assert not report["healthy_while_full"]
    assert any("are free in" in problem for problem in report["problems"])
    assert report["back_after_s"] < BACK_S


def scenario(disk: Path, cache: Path) -> dict[str, Any]:
    home, balloon = disk / "home", disk / "balloon"
    shutil.copytree(cache, home / "cache")
    command = [sys.executable, "-P", "-m", "deploy.cli", "up", "--port", "0"]
    up = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "LOOKALIKE_HOME": str(home)})
    try:
        assert up.stdout
        found = re.search(r"http://\S+", up.stdout.readline())
        assert found
        return _filled_and_freed(home, balloon, found[0], up.pid)
    finally:
        up.terminate()
        up.wait(20)


def _filled_and_freed(home: Path, balloon: Path, address: str, supervisor: int) -> dict[str, Any]:
    with balloon.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(home).free - LEFT_BYTES)
    ids: list[str] = []
    refusals: list[int] = []
    while len(refusals) < 3:
        status, answer = _post(f"{address}/api/v1/images", "images", _photo(len(ids)))
        if status < 300:
            ids += [image["id"] for image in answer["images"]]
        else:
            refusals.append(status)
    os.kill(_worker_of(supervisor), signal.SIGKILL)
    _, full = _get(f"{address}/api/v1/health")
    balloon.unlink()
    freed = time.monotonic()
    while _post(f"{address}/api/v1/search", "image", _photo(0))[0] != 200 and time.monotonic() - freed < 2 * BACK_S:
        time.sleep(0.5)
    back_after_s = time.monotonic() - freed
    lost = [id for id in ids if _get(f"{address}/api/v1/images/{id}/original")[0] != 200]
    return {
        "acknowledged": len(ids),
        "lost": lost,
        "refusals": sorted(set(refusals)),
        "healthy_while_full": full["healthy"],
        "problems": full["problems"],
        "back_after_s": back_after_s,
    }


def _worker_of(supervisor: int) -> int:
    children = Path(f"/proc/{supervisor}/task").glob("*/children")
    for child in " ".join(each.read_text() for each in children).split():
        if Path(f"/proc/{child}/cmdline").read_text().split("\0")[1:3] == ["-m", "workers"]:
            return int(child)
    raise AssertionError("there is no worker")


def _photo(number: int) -> bytes:
    """About 400 kB that no other number gives."""
    noise = np.random.default_rng(number).integers(0, 255, (700, 700, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _post(url: str, field: str, photo: bytes) -> tuple[int, Any]:
    boundary = "lookalike-boundary"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="q.jpg"\r\n\r\n'
    body = head.encode() + photo + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return _answer(urllib.request.Request(url, body, headers))


def _get(url: str) -> tuple[int, Any]:
    return _answer(urllib.request.Request(url))


def _answer(request: urllib.request.Request) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(request, timeout=40) as response:
            status, content = response.status, response.read()
    except urllib.error.HTTPError as error:
        status, content = error.code, error.read()
    return status, json.loads(content) if content.startswith(b"{") else content


if __name__ == "__main__":
    print(json.dumps(scenario(Path(sys.argv[1]), Path(sys.argv[2]))))
