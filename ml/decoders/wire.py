"""Messages between a process and its decoder: a small JSON object over a socket, bytes beside it in shared memory.

Both sides map the same memory and take turns: what one writes there is read, and copied, before it answers. Bytes that
have no room there follow the object through the socket.
"""

import json
import mmap
import os
import socket
import struct
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

SHARED_BYTES = 2 * 2**20  # a photo of a phone seldom has more
_LENGTH = struct.Struct(">I")
_REST_S = 60.0  # for the rest of a message whose beginning has come

Part = bytes | memoryview
Message = tuple[dict[str, Any], list[memoryview]]


def shared_memory() -> int:
    """Memory that several processes can map, as a file descriptor; nobody else finds it."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("lookalike-decoder")
    else:
        with tempfile.TemporaryFile(prefix="lookalike-decoder-") as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, SHARED_BYTES)
    return descriptor


class Wire:
    """One side's end. Not for several threads at a time."""

    def __init__(self, channel: socket.socket, descriptor: int) -> None:
        """Takes both over."""
        self.channel = channel
        self._shared = mmap.mmap(descriptor, SHARED_BYTES)
        os.close(descriptor)

    def send(self, head: dict[str, Any], parts: Sequence[Part] = ()) -> None:
        """Raises OSError when the other side is gone."""
        views = [memoryview(part).cast("B") for part in parts]
        room, inside = SHARED_BYTES, 0
        for view in views:
            if len(view) > room:
                break
            start = SHARED_BYTES - room
            self._shared[start : start + len(view)] = view
            room -= len(view)
            inside += 1
        text = json.dumps([head, inside, [len(view) for view in views]]).encode()
        self.channel.sendall(_LENGTH.pack(len(text)) + text)
        for view in views[inside:]:
            self.channel.sendall(view)

    def receive(self) -> Message | None:
        """The next message; None when the other side is gone. Its bytes hold until the next `send` on either side.

        Raises TimeoutError when the channel has a timeout and nothing came.
        """
        start = self._exactly(_LENGTH.size)
        if self.channel.gettimeout() is not None:
            self.channel.settimeout(_REST_S)
        text = self._exactly(*_LENGTH.unpack(start)) if start else None
        if text is None:
            return None
        head, inside, sizes = json.loads(bytes(text))
        parts, at = [], 0
        shared = memoryview(self._shared)
        for number, size in enumerate(sizes):
            if number < inside:
                parts.append(shared[at : at + size])
                at += size
            elif (part := self._exactly(size)) is not None:
                parts.append(part)
            else:
                return None
        return head, parts

    def close(self) -> None:
        """The other side will notice."""
        self.channel.close()

    def _exactly(self, size: int) -> memoryview | None:
        buffer = memoryview(bytearray(size))
        at = 0
        while at < size:
            try:
                count = self.channel.recv_into(buffer[at:])
            except ConnectionError:
                return None
            if not count:
                return None
            at += count
        return buffer
