"""A worker's threads share a few arenas of memory."""

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, sys, threading
from ml import cores
from workers.process.allocator import limit_arenas
cores.available = lambda: {cores}
limit_arenas()
barrier = threading.Barrier(12)
def work():
    barrier.wait()
    kept = [bytes(2_000) for _ in range(100)]
    barrier.wait()
threads = [threading.Thread(target=work) for _ in range(12)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc = ctypes.CDLL(None)
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""


def arenas(cores: int, **environment: str) -> int:
    """How many twelve threads allocate from, on so many cores."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(cores=cores)],
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.count("<heap nr=")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are glibc's")
def test_threads_share_arenas_unless_the_environment_says_otherwise() -> None:
    assert arenas(cores=1) == 2
    assert 2 < arenas(cores=5) <= 5
    assert 5 < arenas(cores=1, MALLOC_ARENA_MAX="7") <= 7
