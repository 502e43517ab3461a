"""Parts are kept alive, give up clearly, and never outlive their supervisor."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local import reaper as reaper_program
from deploy.local.supervisor import Keeper, Part, PartFailed, Reaper, rotate
from tests.processes import wait_for

ROOT = Path(__file__).parents[3]


def part(folder: Path, program: str, **more: object) -> Part:
    """A part that runs a few lines of Python and is ready once it has made the file `ready`."""
    return Part(
        name="part",
        command=[sys.executable, "-c", textwrap.dedent(program)],
        environment=dict(os.environ),
        is_ready=lambda pid: (folder / f"ready-{pid}").exists(),
        log_path=folder / "part.log",
        working_directory=folder,
        **more,  # type: ignore[arg-type]
    )


READY = "import os, time, pathlib; pathlib.Path(f'ready-{os.getpid()}').touch(); time.sleep(600)"


@pytest.fixture
def reaper() -> Iterator[Reaper]:
    reaper = Reaper([])
    yield reaper
    reaper.close()


@pytest.fixture
def run(reaper: Reaper) -> Iterator[Callable[..., Keeper]]:
    keepers: list[Keeper] = []

    def run(part: Part, on_given_up: Callable[[PartFailed], None] = lambda _failure: None) -> Keeper:
        keepers.append(Keeper(part, reaper, on_given_up))
        keepers[-1].start()
        return keepers[-1]

    yield run
    for keeper in keepers:
        keeper.stop(5.0)


def test_a_part_that_is_killed_comes_back(tmp_path: Path, run: Callable[..., Keeper]) -> None:
    keeper = run(part(tmp_path, READY))
    keeper.wait_until_ready()
    first = keeper.pid
    assert first
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: keeper.is_ready and keeper.pid not in (None, first))
    assert keeper.restarts == 1


def test_what_a_dead_part_had_started_goes_with_it(tmp_path: Path, run: Callable[..., Keeper]) -> None:
    program = """
        import os, subprocess, pathlib, time
        child = subprocess.Popen(["sleep", "600"])
        pathlib.Path("child").write_text(str(child.pid))
        pathlib.Path(f"ready-{os.getpid()}").touch()
        time.sleep(600)
    """
    keeper = run(part(tmp_path, program))
    keeper.wait_until_ready()
    group = keeper.pid
    assert group
    os.kill(group, signal.SIGKILL)
    wait_for(lambda: not reaper_program.is_alive(group))


def test_a_part_that_does_not_start_is_reported_with_its_last_words(tmp_path: Path, run: Callable[..., Keeper]) -> None:
    keeper = run(part(tmp_path, "raise SystemExit('error: another process owns the store\\nhint: stop it')"))
    with pytest.raises(PartFailed, match="the part did not start: another process owns the store") as caught:
        keeper.wait_until_ready()
    assert "part.log" in caught.value.hint


def test_a_part_that_gives_no_sign_is_reported(tmp_path: Path, run: Callable[..., Keeper]) -> None:
    keeper = run(part(tmp_path, "import time; time.sleep(600)", start_timeout_s=0.3))
    with pytest.raises(PartFailed, match="not ready after 0 s"):
        keeper.wait_until_ready()


def test_a_part_that_keeps_dying_is_given_up(tmp_path: Path, run: Callable[..., Keeper]) -> None:
    program = (
        "import os, time, pathlib; pathlib.Path(f'ready-{os.getpid()}').touch(); time.sleep(0.2); raise SystemExit(3)"
    )
    given_up = threading.Event()
    failures: list[PartFailed] = []

    def on_given_up(failure: PartFailed) -> None:
        failures.append(failure)
        given_up.set()

    run(part(tmp_path, program), on_given_up)
    assert given_up.wait(30)
    assert "died 5 times within a minute" in failures[0].message


def test_a_part_that_ignores_sigterm_is_killed_in_time(tmp_path: Path, run: Callable[..., Keeper]) -> None:
    program = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + READY
    keeper = run(part(tmp_path, program))
    keeper.wait_until_ready()
    group = keeper.pid
    assert group
    started = time.monotonic()
    keeper.stop(0.5)
    assert time.monotonic() - started < 3.0
    assert not reaper_program.is_alive(group)


def test_a_dead_reaper_is_replaced_and_still_knows_the_parts(
    tmp_path: Path, reaper: Reaper, run: Callable[..., Keeper]
) -> None:
    keeper = run(part(tmp_path, READY))
    keeper.wait_until_ready()
    group, first = keeper.pid, reaper.pid
    assert group
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: reaper.pid != first)
    os.kill(reaper.pid, 0)
    keeper._stopping.set()  # so that it does not start another when the reaper ends this one
    reaper.close()
    assert not reaper_program.is_alive(group)
    reaper._start()  # for the fixture


@pytest.mark.parametrize("stubborn", [False, True], ids=["parts that listen", "parts that ignore SIGTERM"])
def test_a_supervisor_that_is_killed_leaves_no_orphan(tmp_path: Path, stubborn: bool) -> None:
    program = READY.replace("; time.sleep", "; import signal; signal.signal(15, signal.SIG_IGN); time.sleep")
    supervising = f"""
        import sys, time, os
        from pathlib import Path
        sys.path.insert(0, {str(ROOT)!r})
        from deploy.local.supervisor import Keeper, Part, Reaper
        here = Path({str(tmp_path)!r})
        keeper = Keeper(Part("part", [sys.executable, "-c", {program if stubborn else READY!r}], dict(os.environ),
            lambda pid: (here / f"ready-{{pid}}").exists(), here / "part.log", here), Reaper([]), print)
        keeper.start()
        keeper.wait_until_ready()
        print(keeper.pid, keeper._reaper.pid, flush=True)
        time.sleep(600)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(supervising)], stdout=subprocess.PIPE, text=True
    ) as supervisor:
        assert supervisor.stdout
        group, reaper = map(int, supervisor.stdout.readline().split())
        supervisor.kill()
    wait_for(lambda: not reaper_program.is_alive(group) and not reaper_program.is_alive(reaper))


def test_an_overgrown_log_is_moved_aside_in_place(tmp_path: Path) -> None:
    path = tmp_path / "part.log"
    with path.open("ab", buffering=0) as writer:
        writer.write(b"old" * 10)
        rotate(path, limit=20)
        writer.write(b"new")
    assert path.read_bytes() == b"new"
    assert (tmp_path / "part.log.1").read_bytes() == b"old" * 10


def test_a_log_that_somebody_deleted_harms_nothing(tmp_path: Path) -> None:
    rotate(tmp_path / "part.log")
