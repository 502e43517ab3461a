"""How a command comes to a running system: the one on its home, a remote one, or one of its own for a while.

Two commands at once share: the second uses the temporary system of the first, which waits for it before it stops.
"""

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from deploy.local import locks
from deploy.local.locks import AlreadyRunning, Description
from ml.errors import LookalikeError
from workers.settings import Settings

START_S = 200.0  # how long another command's system may take to start


@contextlib.contextmanager
def connect(settings: Settings, *, say: Callable[[str], None]) -> Iterator[Settings]:
    """Yields settings whose `redis_url` leads to a running system.

    In this order: LOOKALIKE_REDIS_URL; the system that runs on this home; embedded services, started here and stopped
    when the block ends.

    Args:
        say: gets a line when there is something to wait for.

    Raises:
        LookalikeError: nothing runs and nothing can be started.
    """
    if settings.redis_url:
        yield settings
        return
    with contextlib.ExitStack() as hold:
        yield _attach(settings, hold, say) or hold.enter_context(_own(settings, say))


def running(settings: Settings) -> Description | None:
    """The system that runs on this home and is ready, if there is one."""
    if not locks.is_held(settings.home):
        return None
    described = Description.read(settings.home)
    return described if described and described.is_ready else None


def _attach(settings: Settings, hold: contextlib.ExitStack, say: Callable[[str], None]) -> Settings | None:
    """Settings of the running system, held against its stopping until `hold` ends; None when there is none."""
    deadline = time.monotonic() + START_S
    has_said = False
    while locks.is_held(settings.home):
        attached = locks.attached_lock(settings.home)
        if attached.try_shared():
            described = Description.read(settings.home)
            if described and described.is_ready:
                hold.callback(attached.release)
                return dataclasses.replace(settings, redis_url=described.redis_url, storage=described.storage)
        attached.release()
        if time.monotonic() > deadline:
            raise AlreadyRunning(
                f"the system on {settings.home} has been starting for {START_S:.0f} s",
                hint=f"see {settings.home / 'logs'}",
            )
        if not has_said:
            say("waiting for the system that is starting or stopping on this home")
            has_said = True
        time.sleep(0.1)
    return None


@contextlib.contextmanager
def _own(settings: Settings, say: Callable[[str], None]) -> Iterator[Settings]:
    """Embedded services for the time of the block, and for as long as another command uses them."""
    from deploy.local.stack import Stack  # a command beside a running system starts sooner without it

    with terminable(), contextlib.ExitStack() as hold:
        try:
            stack = hold.enter_context(Stack(settings, say=say))
        except AlreadyRunning:  # another command was faster
            attached = _attach(settings, hold, say)
            if attached is None:
                raise
            yield attached
            return
        try:
            yield stack.settings
        finally:
            _wait_for_attached(settings, say)


def _wait_for_attached(settings: Settings, say: Callable[[str], None]) -> None:
    """Returns when no other command uses this system, and lets no other begin."""
    with locks.attached_lock(settings.home) as attached:
        if not attached.try_exclusive():
            say("another command still uses what this one started; waiting for it (Ctrl-C stops it)")
            while not attached.try_exclusive():
                time.sleep(0.1)
        Description.remove(settings.home)


class Terminated(LookalikeError):
    """Somebody asked this process to end."""

    exit_status = 128 + signal.SIGTERM


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP end the block in order, so that what was started is stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _frame: FrameType | None) -> None:
        raise Terminated(f"ended by {signal.Signals(number).name}")

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
