"""Services are kept alive whatever happens, and never outlive their supervisor."""

import dataclasses
import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local import reaper as reaper_program
from deploy.local import supervisor
from deploy.local.supervisor import Reaper, Service, ServiceFailed, ServiceRunner
from tests.processes import wait_for

ROOT = Path(__file__).parents[3]


def service(folder: Path, program: str, **more: object) -> Service:
    """A service that runs a few lines of Python and is ready once it has made the file `ready-PID`.

    It finds `noticed-PID` once its supervisor has seen that.
    """

    def is_ready(pid: int) -> bool:
        is_ready = (folder / f"ready-{pid}").exists()
        if is_ready:
            (folder / f"noticed-{pid}").touch()
        return is_ready

    return Service(
        name="service",
        command=[sys.executable, "-c", textwrap.dedent(program)],
        environment=dict(os.environ),
        is_ready=is_ready,
        log_path=folder / "service.log",
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
def run(reaper: Reaper) -> Iterator[Callable[..., ServiceRunner]]:
    runners: list[ServiceRunner] = []

    def run(service: Service, on_change: Callable[[str], None] = lambda _line: None) -> ServiceRunner:
        runners.append(ServiceRunner(service, reaper, on_change))
        runners[-1].start()
        return runners[-1]

    yield run
    for runner in runners:
        runner.stop(5.0)


def test_a_service_that_is_killed_comes_back(tmp_path: Path, run: Callable[..., ServiceRunner]) -> None:
    runner = run(service(tmp_path, READY))
    runner.wait_until_ready()
    first = runner.pid
    assert first
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: runner.is_ready and runner.pid not in (None, first))
    assert runner.restarts == 1


def test_what_a_dead_service_had_started_goes_with_it(tmp_path: Path, run: Callable[..., ServiceRunner]) -> None:
    program = """
        import os, subprocess, pathlib, time
        child = subprocess.Popen(["sleep", "600"])
        pathlib.Path("child").write_text(str(child.pid))
        pathlib.Path(f"ready-{os.getpid()}").touch()
        time.sleep(600)
    """
    runner = run(service(tmp_path, program))
    runner.wait_until_ready()
    group = runner.pid
    assert group
    os.kill(group, signal.SIGKILL)
    wait_for(lambda: not reaper_program.is_alive(group))


def test_a_service_that_does_not_start_is_reported_with_its_last_log_line(
    tmp_path: Path, run: Callable[..., ServiceRunner]
) -> None:
    runner = run(service(tmp_path, "raise SystemExit('error: another process owns the store\\nhint: stop it')"))
    with pytest.raises(ServiceFailed, match="the service did not start: another process owns the store") as caught:
        runner.wait_until_ready()
    assert caught.value.hint.startswith("stop it (log: ")
    assert "service.log" in caught.value.hint


def test_a_service_that_gives_no_sign_is_reported(tmp_path: Path, run: Callable[..., ServiceRunner]) -> None:
    runner = run(service(tmp_path, "import time; time.sleep(600)", start_timeout_s=0.3))
    with pytest.raises(ServiceFailed, match="not ready after 0 s"):
        runner.wait_until_ready()


DYING = """
    import os, time, pathlib
    pathlib.Path(f"ready-{os.getpid()}").touch()
    print("no space left", flush=True)
    while not pathlib.Path(f"noticed-{os.getpid()}").exists():
        time.sleep(0.01)
    if not pathlib.Path("healed").exists():
        raise SystemExit(3)
    time.sleep(600)
"""


def test_a_service_that_keeps_dying_is_started_again_for_ever(
    tmp_path: Path, run: Callable[..., ServiceRunner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "LONGEST_BACKOFF_S", 0.2)
    lines: list[str] = []
    runner = run(service(tmp_path, DYING), lines.append)
    wait_for(lambda: runner.restarts >= 7)
    assert runner.status.reason == "exit status 3: no space left"
    assert lines.count("the service died (exit status 3: no space left); restarting it now") >= 7
    (tmp_path / "healed").touch()
    wait_for(lambda: "the service runs again" in lines and runner.status.state == "running")


def test_pauses_between_deaths_grow_up_to_half_a_minute(
    tmp_path: Path, run: Callable[..., ServiceRunner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "BACKOFF_S", 20.0)
    pauses: list[float] = []
    runner = run(service(tmp_path, DYING))
    monkeypatch.setattr(runner._stopping, "wait", lambda pause_s: pauses.append(pause_s) or len(pauses) == 4)
    wait_for(lambda: len(pauses) == 4)
    assert pauses == [20.0, 30.0, 30.0, 30.0]


def test_a_service_that_keeps_dying_is_restarted_later_each_time(
    tmp_path: Path, run: Callable[..., ServiceRunner]
) -> None:
    program = """
        import os, time, pathlib
        with open("lives", "a") as lives:
            print(time.monotonic(), file=lives, flush=True)
            pathlib.Path(f"ready-{os.getpid()}").touch()
            while not pathlib.Path(f"noticed-{os.getpid()}").exists():
                time.sleep(0.01)
            print(time.monotonic(), file=lives)
    """
    runner = run(service(tmp_path, program))
    wait_for(lambda: runner.restarts >= 5)
    times = [float(line) for line in (tmp_path / "lives").read_text().split()]
    starts, ends = times[2:10:2], times[1:9:2]
    pauses = [start - end for start, end in zip(starts, ends, strict=True)]
    assert all(pause >= 0.1 * 2**number for number, pause in enumerate(pauses)), pauses


@pytest.mark.parametrize("log", ["/dev/full", "no-such-folder/service.log"])
def test_a_service_comes_back_though_no_log_can_be_written(
    tmp_path: Path, run: Callable[..., ServiceRunner], log: str
) -> None:
    if log == "/dev/full" and not Path(log).exists():
        pytest.skip("there is no /dev/full here")
    runner = run(dataclasses.replace(service(tmp_path, READY), log_path=tmp_path / log))
    runner.wait_until_ready()
    first = runner.pid
    runner.kill()
    wait_for(lambda: runner.is_ready and runner.pid not in (None, first))


def test_a_service_comes_back_though_no_process_was_to_be_had(
    tmp_path: Path, run: Callable[..., ServiceRunner], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = run(service(tmp_path, READY))
    runner.wait_until_ready()
    with monkeypatch.context() as without_processes:
        refusals: list[int] = []

        def refuse(*_arguments: object, **_options: object) -> None:
            refusals.append(errno.EAGAIN)
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

        without_processes.setattr(supervisor.subprocess, "Popen", refuse)
        runner.kill()
        os.kill(runner._reaper.pid, signal.SIGKILL)
        wait_for(lambda: len(refusals) >= 4)
    wait_for(lambda: runner.is_ready and runner.pid is not None)
    assert runner.restarts >= 2


def test_a_service_that_hangs_when_it_is_started_again_is_killed(
    tmp_path: Path, run: Callable[..., ServiceRunner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "LONGEST_BACKOFF_S", 0.1)
    program = """
        import os, time, pathlib
        if not pathlib.Path("started").exists():
            pathlib.Path("started").touch()
            pathlib.Path(f"ready-{os.getpid()}").touch()
        time.sleep(600)
    """
    runner = run(service(tmp_path, program))
    runner.wait_until_ready()
    runner.service = dataclasses.replace(runner.service, start_timeout_s=1.0)
    runner.kill()
    wait_for(lambda: runner.restarts >= 2)
    assert runner.status.reason == "not ready after 1 s"


def test_a_service_that_ignores_sigterm_is_killed_in_time(tmp_path: Path, run: Callable[..., ServiceRunner]) -> None:
    program = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + READY
    runner = run(service(tmp_path, program))
    runner.wait_until_ready()
    group = runner.pid
    assert group
    started = time.monotonic()
    runner.stop(0.5)
    assert time.monotonic() - started < 3.0
    assert not reaper_program.is_alive(group)


def test_a_dead_reaper_is_replaced_and_still_knows_the_services(
    tmp_path: Path, reaper: Reaper, run: Callable[..., ServiceRunner]
) -> None:
    runner = run(service(tmp_path, READY))
    runner.wait_until_ready()
    group, first = runner.pid, reaper.pid
    assert group
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: reaper.pid != first)
    os.kill(reaper.pid, 0)
    runner._stopping.set()  # so that it does not start another when the reaper ends this one
    reaper.close()
    assert not reaper_program.is_alive(group)
    reaper._process, reaper.pipe = reaper._started()  # for the fixture


@pytest.mark.parametrize("stubborn", [False, True], ids=["services that listen", "services that ignore SIGTERM"])
def test_a_supervisor_that_is_killed_leaves_no_orphan(tmp_path: Path, stubborn: bool) -> None:
    program = READY.replace("; time.sleep", "; import signal; signal.signal(15, signal.SIG_IGN); time.sleep")
    supervising = f"""
        import sys, time, os
        from pathlib import Path
        sys.path.insert(0, {str(ROOT)!r})
        from deploy.local.supervisor import ServiceRunner, Service, Reaper
        here = Path({str(tmp_path)!r})
        command = [sys.executable, "-c", {program if stubborn else READY!r}]
        service = Service("service", command, dict(os.environ), lambda pid: (here / f"ready-{{pid}}").exists(),
            here / "service.log", here)
        runner = ServiceRunner(service, Reaper([]))
        runner.start()
        runner.wait_until_ready()
        print(runner.pid, runner._reaper.pid, flush=True)
        time.sleep(600)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(supervising)], stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout
        group, reaper = map(int, killed.stdout.readline().split())
        killed.kill()
    wait_for(lambda: not reaper_program.is_alive(group) and not reaper_program.is_alive(reaper))
