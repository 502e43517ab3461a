"""The whole system under fire: a part or the supervisor is killed, and nothing that was acknowledged is lost."""

import contextlib
import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from deploy.local import locks, reaper
from deploy.local.locks import Description
from tests.e2e.conftest import Program
from tests.e2e.test_commands import _copies, photos
from tests.processes import wait_for
from workers import settings
from workers.client import Client


def up(program: Program, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    """A started `lookalike up` and the address that it prints."""
    process = program.start("up", "--port", "0", *arguments)
    assert process.stdout
    line = process.stdout.readline()
    address = re.search(r"http://\S+", line)
    assert address, process.communicate()[1]
    return process, address[0]


def client_of(program: Program) -> Client:
    described = Description.read(program.home)
    assert described
    environment = {"LOOKALIKE_HOME": str(program.home), "LOOKALIKE_REDIS_URL": described.redis_url}
    return Client(settings.load(environment))


def groups_below(supervisor: int) -> list[int]:
    """The process groups of the supervisor's children."""
    groups = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == supervisor:
                    groups.append(int(fields[2]))
    return groups


def command_of(process: int) -> str:
    return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc here to look into")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@needs_proc
def test_up_serves_and_stops_cleanly(lookalike: Program, number: signal.Signals) -> None:
    process, address = up(lookalike)
    with urllib.request.urlopen(f"{address}/api/v1/health", timeout=10) as answer:
        assert answer.status == 200
    groups = groups_below(process.pid)
    assert len(groups) >= 4  # queue, worker, portal, reaper
    process.send_signal(number)
    process.communicate(timeout=20)  # ten are promised; a machine that is busy may take twice as long
    assert process.returncode == 0
    assert not any(reaper.is_alive(group) for group in groups)


@needs_proc
def test_after_kill_9_nothing_is_left_and_everything_is_there_again(lookalike: Program, demo_photos: Path) -> None:
    process, _ = up(lookalike)
    assert lookalike("index", demo_photos, "--json").report["added"] == len(photos(demo_photos))
    groups = groups_below(process.pid)
    process.kill()
    process.communicate()
    again, address = up(lookalike)  # at once
    assert not any(reaper.is_alive(group) for group in groups)
    results = lookalike("search", photos(demo_photos)[3], "--json").report["results"]
    assert results[0]["path"] == str(photos(demo_photos)[3])
    assert lookalike("index", demo_photos, "--json").report["unchanged"] == len(photos(demo_photos))
    with urllib.request.urlopen(f"{address}/", timeout=10) as page:
        assert page.status == 200
    assert again.poll() is None


@pytest.mark.parametrize("part", ["workers", "valkey-server", "-m web"])
@needs_proc
def test_a_part_killed_in_the_middle_of_an_index_loses_nothing(
    lookalike: Program, demo_photos: Path, tmp_path: Path, part: str
) -> None:
    many = _copies(demo_photos, tmp_path / "many", times=12)
    supervisor, address = up(lookalike)
    client = client_of(lookalike)
    index = lookalike.start("index", many, "--json")
    wait_for(lambda: any(client.job(job).done > 0 for job in client.jobs.running()))
    (victim,) = (group for group in groups_below(supervisor.pid) if part in command_of(group))
    os.kill(victim, signal.SIGKILL)
    output, errors = index.communicate(timeout=200)
    assert index.returncode == 0, errors
    report = json.loads(output)
    assert (report["added"], report["failed"]) == (len(photos(many)), 0)
    (successor,) = (group for group in groups_below(supervisor.pid) if part in command_of(group))
    assert successor != victim
    verified = lookalike("verify", "--json")
    assert verified.status == 0, verified.errors
    assert verified.report["images"] == len(photos(many))
    with urllib.request.urlopen(f"{address}/api/v1/health", timeout=20) as answer:
        assert answer.status == 200


def test_off_loopback_the_portal_asks_for_a_token(lookalike: Program) -> None:
    lookalike.environment["LOOKALIKE_API_TOKENS"] = "a-long-secret-token"
    _process, address = up(lookalike, "--host", "0.0.0.0")
    port = address.rpartition(":")[2]
    labels = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/labels")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(labels, timeout=10)
    labels.add_header("Authorization", "Bearer a-long-secret-token")
    with urllib.request.urlopen(labels, timeout=10) as answer:
        assert answer.status == 200


def test_two_commands_at_once_share_one_system(lookalike: Program, demo_photos: Path) -> None:
    folders = sorted(demo_photos.iterdir())[:2]
    running = [lookalike.start("index", folder, "--json") for folder in folders]
    for process, folder in zip(running, folders, strict=True):
        output, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
        assert json.loads(output)["added"] == len(photos(folder))
    assert not locks.is_held(lookalike.home)
