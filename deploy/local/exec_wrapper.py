"""Exec wrapper: registers with the reaper, asks to end with its parent, then executes the service's program.

Started by `deploy.local.supervisor` as `python -I -S exec_wrapper.py PIPE PROGRAM…` in a session of its own. It
registers *before* it executes, so there is no moment in which a service runs that nobody would clean up.
Standard library only: it must start in milliseconds and cannot be broken by the packages of the services.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(pipe: int, command: list[str]) -> None:
    """Registers this process group with the reaper at the other end of `pipe`, then executes `command`."""
    os.write(pipe, f"+{os.getpid()}\n".encode())
    os.set_inheritable(pipe, False)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    # The supervisor ignores nothing, but a shell's `nohup` or `&` may: a service hears the signals that stop it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.umask(0o077)  # photos, keys and logs are their owner's, whatever the shell says
    os.execvp(command[0], command)  # noqa: S606 - the list comes from our own supervisor


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
