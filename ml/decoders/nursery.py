"""The process that children are forked from: Pillow is loaded here once, and nothing else ever happens here.

It obeys a socket. A fork takes a few milliseconds and shares the loaded libraries'
memory; to start a Python with Pillow takes fifty times as long. It has one thread, so that forking is safe, whatever
threads the process has that started it. When that process ends, however it ends, this one ends with all children.
"""

import gc
import os
import signal
import socket
import struct
import sys
from typing import NoReturn

from ml.decoders import child
from ml.decoders.wire import Wire

COMMAND = struct.Struct(">ci")
ANSWER = struct.Struct(">i")
FORK, AWAIT = b"F", b"W"


def main() -> None:
    """Obeys until the socket is closed."""
    control = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, which is inherited, it would hide how children ended
    gc.freeze()
    control.sendall(ANSWER.pack(os.getpid()))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders talk about every odd byte
    while True:
        command, descriptors, _, _ = socket.recv_fds(control, COMMAND.size, 2)
        if len(command) < COMMAND.size:
            os.killpg(0, signal.SIGKILL)
        kind, number = COMMAND.unpack(command)
        if kind == FORK:
            pid = os.fork()
            if not pid:
                control.close()
                _become_child(descriptors, number)
            for descriptor in descriptors:
                os.close(descriptor)
            control.sendall(ANSWER.pack(pid))
        else:
            _, status = os.waitpid(number, 0)
            control.sendall(ANSWER.pack(os.waitstatus_to_exitcode(status)))


def _become_child(descriptors: list[int], niceness: int) -> NoReturn:
    status = 1
    try:
        os.nice(niceness)
        channel, shared = descriptors
        child.serve(Wire(socket.socket(fileno=channel), shared))
        status = 0
    finally:
        os._exit(status)
