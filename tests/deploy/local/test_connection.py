"""A command uses what runs, else starts its own, and two commands share."""

import dataclasses
import signal
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from deploy.local import connection, locks
from deploy.local.connection import connect
from deploy.local.stack import Stack
from tests.processes import wait_for
from workers.settings import Settings
from workers.supervision import Supervision

pytestmark = pytest.mark.usefixtures("stand_in_services")
Elsewhere = Callable[[str], "subprocess.Popen[str]"]


def say_nothing(_line: str) -> None:
    pass


def test_a_queue_of_ones_own_is_used_as_it_is(home_settings: Settings) -> None:
    given = dataclasses.replace(home_settings, redis_url="redis://example.invalid/0")
    with connect(given, say=say_nothing) as connected:
        assert connected == given
    assert not given.home.exists()


def test_without_a_system_one_is_started_and_stopped(home_settings: Settings) -> None:
    with connect(home_settings, say=say_nothing) as connected:
        assert redis.Redis.from_url(connected.redis_url).ping()
        assert locks.is_held(home_settings.home)
    assert not locks.is_held(home_settings.home)


def test_a_running_system_is_used_with_its_storage(home_settings: Settings) -> None:
    its_settings = dataclasses.replace(home_settings, storage="file:///elsewhere")
    with Stack(its_settings) as running, connect(home_settings, say=say_nothing) as connected:
        assert connected.redis_url == running.settings.redis_url
        assert connected.storage == "file:///elsewhere"


def test_running_tells_of_a_ready_system_alone(home_settings: Settings) -> None:
    assert connection.running(home_settings) is None
    with Stack(home_settings, portal=("127.0.0.1", 0)) as stack:
        described = connection.running(home_settings)
        assert described and described.portal == stack.address
    assert connection.running(home_settings) is None


def test_a_killed_system_is_no_ready_one_while_its_successor_waits_for_its_services(home_settings: Settings) -> None:
    home = home_settings.home
    killed = locks.Description(
        pid=0, redis_url="redis://example.invalid/0", storage="", portal=None, started_at=0, is_ready=True
    )
    killed.write(home)
    with ThreadPoolExecutor(1) as thread, locks.FileLock(home / "run" / "stack.lock") as its_services:
        assert its_services.try_exclusive()
        successor = thread.submit(locks.HomeLock, home)
        wait_for(lambda: locks.is_held(home))
        wait_for(lambda: connection.running(home_settings) is None, timeout_s=10)
        assert not successor.done()
        its_services.release()
        successor.result().release()


def test_the_owner_waits_for_a_command_that_uses_its_system(home_settings: Settings, elsewhere: Elsewhere) -> None:
    owner = elsewhere(
        """
        with connection.connect(settings, say=lambda line: print(line, flush=True)):
            print("connected", flush=True)
            while not (settings.home / "finish").exists():
                time.sleep(0.02)
        """
    )
    assert owner.stdout
    lines = iter(owner.stdout)
    assert "connected\n" in lines
    with connect(home_settings, say=say_nothing) as connected:
        (home_settings.home / "finish").touch()
        assert "another command still uses" in next(lines)
        assert redis.Redis.from_url(connected.redis_url).ping()
        assert owner.poll() is None
    assert owner.wait(15) == 0
    assert not locks.is_held(home_settings.home)


def test_two_commands_at_once_share_one_system(home_settings: Settings, elsewhere: Elsewhere) -> None:
    program = """
        with connection.connect(settings, say=lambda line: None) as connected:
            import redis
            assert redis.Redis.from_url(connected.redis_url).incr("commands")
            print(connected.redis_url, flush=True)
            while redis.Redis.from_url(connected.redis_url).get("commands") != b"3":
                time.sleep(0.02)
    """
    commands = [elsewhere(program) for _ in range(3)]
    addresses = {command.stdout.readline() for command in commands if command.stdout}
    assert [command.wait(20) for command in commands] == [0, 0, 0]
    assert len(addresses) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_ended_stops_what_it_started(
    home_settings: Settings, elsewhere: Elsewhere, number: signal.Signals
) -> None:
    command = elsewhere(
        "with connection.connect(settings, say=print): print('connected', flush=True); time.sleep(600)",
    )
    assert command.stdout and "connected\n" in iter(command.stdout)
    command.send_signal(number)
    assert command.wait(15) != 0
    wait_for(lambda: not locks.is_held(home_settings.home))


def test_a_service_that_keeps_dying_is_told_and_comes_back_by_itself(
    home_settings: Settings, elsewhere: Elsewhere
) -> None:
    command = elsewhere(
        """
        import signal
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for what it starts in the background
        from deploy.local import supervisor
        supervisor.LONGEST_BACKOFF_S = 0.2
        asked = Stack._is_worker_alive
        def is_alive(stack, pid):
            alive = asked(stack, pid)
            if alive:
                (settings.home / "run" / f"noticed-{pid}").touch()
            return alive
        Stack._is_worker_alive = is_alive
        dying = "import os; healed = os.path.exists('healed')" + stand_ins.WORKER[2].replace(
            "time.sleep(600)", "while healed or not os.path.exists(f'noticed-{os.getpid()}'): time.sleep(0.01)"
        )
        stack.worker_command = lambda: [sys.executable, "-c", dying]
        with Stack(settings, warn=lambda line: print(line, flush=True)):
            time.sleep(600)
        """
    )
    assert command.stdout
    deaths = [command.stdout.readline() for _ in range(12)]
    assert sum("the worker died (exit status 0)" in line for line in deaths) >= 6
    told = Supervision.read(home_settings.home)
    assert told and told.pid == command.pid
    assert [service.name for service in told.services] == ["queue", "worker"]
    problems = lambda: getattr(Supervision.read(home_settings.home), "problems", list)()  # noqa: E731
    wait_for(lambda: any("the worker" in problem for problem in problems()))
    (home_settings.home / "run" / "healed").touch()
    wait_for(lambda: not problems())
    command.terminate()
    command.wait(15)
    assert Supervision.read(home_settings.home) is None
