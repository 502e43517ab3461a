"""The gallery follows a folder: `lookalike up` with LOOKALIKE_WATCH, a worker that is killed, and `lookalike watch`."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from tests.e2e.conftest import Program, RunningStack
from tests.e2e.test_stack import client_of, up
from tests.processes import wait_for
from workers.client import Client, folders, retry_folder


def shown(client: Client, folder: Path) -> dict[str, str | None]:
    """File name -> label, of what searches find below a folder."""
    images, _ = client.images(limit=500)
    return {Path(image.path).name: image.label for image in images if Path(image.path).is_relative_to(folder)}


def test_the_gallery_follows_the_disk_through_a_killed_worker(
    stack: RunningStack, new_program: Callable[..., Program], tmp_path: Path
) -> None:
    one, two, three = sorted(stack.photos.rglob("*.jpg"))[:3]
    watched = tmp_path / "watched"
    (watched / "lemons").mkdir(parents=True)
    shutil.copy(one, watched / "lemons" / "one.jpg")
    program = new_program(LOOKALIKE_WATCH=str(watched), LOOKALIKE_WATCH_REMOVED="trash")
    up(program)
    client = client_of(program)
    wait_for(lambda: shown(client, watched) == {"one.jpg": "lemons"}, 60)
    (worker,) = client.status().workers
    os.kill(worker.pid, signal.SIGKILL)
    shutil.copy(two, watched / "lemons" / "two.jpg")
    (watched / "lemons" / "one.jpg").rename(watched / "renamed.jpg")
    wait_for(lambda: {s.pid for s in client.status().workers} - {worker.pid}, 120)
    wait_for(lambda: shown(client, watched) == {"renamed.jpg": "lemons", "two.jpg": "lemons"}, 60)
    (watched / "lemons" / "two.jpg").unlink()
    wait_for(lambda: shown(client, watched) == {"renamed.jpg": "lemons"}, 60)
    trashed, total = client.changes.trashed()
    assert [image.name for image in trashed] == ["two.jpg"] and total == 1
    shutil.copy(three, watched / "lemons" / "two.jpg")
    wait_for(lambda: set(shown(client, watched)) == {"renamed.jpg", "two.jpg"}, 60)


def test_watching_says_in_a_line_what_it_does(at_stack: Program, stack: RunningStack, tmp_path: Path) -> None:
    watched = tmp_path / "said"
    watched.mkdir()
    process = at_stack.start("watch", watched, "--in-place")
    assert process.stdout
    assert process.stdout.readline().startswith(f"watching {watched}: new and changed photos are indexed")
    photo = sorted(stack.photos.rglob("*.jpg"))[0].read_bytes() + b"\0"  # another photo by its bytes
    (watched / "said.jpg").write_bytes(photo)
    assert process.stdout.readline().strip() == f"{watched}: 1 added"
    (image,) = [each for each in stack.client.images(limit=500)[0] if each.name == "said.jpg"]
    assert image.is_in_place
    (watched / "torn.jpg").write_bytes(photo[:100])
    assert process.stdout.readline().strip() == f"{watched}: 1 left out"
    wait_for(lambda: [f.failed for f in folders(stack.client) if f.folder == str(watched)] == [1], 20)
    (found,) = [each for each in folders(stack.client) if each.folder == str(watched)]
    assert (found.on_disk, found.indexed, found.is_watched) == (2, 1, True)
    assert found.failures[0].path == str(watched / "torn.jpg")
    retry_folder(stack.client, str(watched))
    assert process.stdout.readline().strip() == f"{watched}: 1 left out"
    stack.client.delete([image.id])
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
