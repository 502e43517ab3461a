"""Many users, and clients that drip or sit there, against a whole system on 127.0.0.1; nothing else is reached.

    python benchmarks/load.py --slow 200 --idle 200 --users 32 --seconds 60 --json
    python benchmarks/load.py --users 200 --seconds 120 --json
    python benchmarks/load.py --by photo --users 32 --seconds 30 --json

Users search by id, or with photos, one request after the other. The same users run first without the slow clients, for
comparison. Told are the statuses, throughput, p50 and p99 of searches, what a search costs each process in time of the
processor (which hardly depends on what else the machine does), the slowest answer of /health/live, the memory slope of
each process, and how long after the load a search is as quick as before it. The users run on the cores that they
measure, so what a search costs them is told, too.
"""

import argparse
import collections
import contextlib
import json
import re
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.processes import processor_s, rss_mb
from deploy import demo_photos
from deploy.cli.find_files import Walk
from deploy.cli.upload_folder import index
from deploy.local.stack import Stack
from workers import settings
from workers.client import Client

LONGEST_S, MOST = 600, 500  # bounds of what may be asked for
HEAD = b"POST /api/v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\n"
DRIPS = (HEAD, HEAD + b"Content-Type: application/json\r\nContent-Length: 50000\r\n\r\n")


_ANSWERED_S = 40.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_LATER = re.compile(rb"\r\nretry-after: *(\d+)", re.IGNORECASE)


class User:
    """A connection to a portal. What it costs is taken from the portal's cores, so it is the leanest there is: bytes
    that were made before are sent, and of an answer no more is read than its status and its length.

    An HTTP library takes 0.4 ms a search, this 0.1.
    """

    def __init__(self, place: tuple[str, int]) -> None:
        self._place = place
        self._socket: socket.socket | None = None

    def ask(self, request: bytes) -> tuple[str, float | None]:
        """Status of the answer, and what it says of when to ask again. Raises OSError; the next one connects anew."""
        try:
            if self._socket is None:
                self._socket = socket.create_connection(self._place, _ANSWERED_S)
            self._socket.sendall(request)
            return self._answer(self._socket)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _answer(self, connection: socket.socket) -> tuple[str, float | None]:
        received = b""
        while True:
            if not (data := connection.recv(65_536)):
                raise ConnectionResetError
            received += data
            head, end, body = received.partition(b"\r\n\r\n")
            if not end:
                continue
            if (length := _LENGTH.search(head)) is None:
                raise ConnectionError("an answer does not say how long it is")
            if len(body) >= int(length[1]):
                later = _LATER.search(head)
                return head[9:12].decode(), float(later[1]) if later else None


class Load:
    """Threads against one portal, until `stop` is set."""

    def __init__(self, address: str, ids: list[str], photos: Sequence[bytes] = ()) -> None:
        self._place = urlsplit(address).hostname or "127.0.0.1", urlsplit(address).port or 80
        self._asked = [_with_photo(photo) for photo in photos] or [_by_id(id) for id in ids]
        self.stop = threading.Event()
        self.seconds: list[float] = []
        self.statuses: collections.Counter[str] = collections.Counter()
        self.slowest_health_s = 0.0

    def session(self) -> contextlib.closing[User]:
        """A connection of one user."""
        return contextlib.closing(User(self._place))

    def search(self, user: User, number: int) -> float:
        """One search; returns its seconds."""
        began = time.perf_counter()
        try:
            status, later_s = user.ask(self._asked[number % len(self._asked)])
            if status == "503":
                status += " without Retry-After" if later_s is None else " with Retry-After"
                self.stop.wait(min(5.0, later_s or 1.0))
        except OSError as error:
            status = type(error).__name__
        took = time.perf_counter() - began
        self.statuses[status] += 1
        if status == "200":
            self.seconds.append(took)
        return took

    def user(self, number: int) -> None:
        with self.session() as user:
            while not self.stop.is_set():
                self.search(user, number)
                number += 7

    def probe(self) -> None:
        """Asks the portal whether it lives."""
        while not self.stop.wait(0.25):
            began = time.perf_counter()
            with self.session() as user, contextlib.suppress(OSError):
                user.ask(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            self.slowest_health_s = max(self.slowest_health_s, time.perf_counter() - began)

    def hold(self, count: int, kinds: tuple[bytes, ...], drips: bool) -> None:
        """Keeps connections open; those that the server closes are made anew."""
        held: list[socket.socket | None] = [None] * count
        while not self.stop.wait(1.0):
            for place, connection in enumerate(held):
                try:
                    if connection is None:
                        connection = held[place] = socket.create_connection(self._place, 2)
                        connection.sendall(kinds[place % len(kinds)])
                        connection.setblocking(False)
                    elif drips:
                        connection.send(b"X")
                    elif connection.recv(1, socket.MSG_PEEK) == b"":
                        raise ConnectionResetError
                except BlockingIOError:
                    continue
                except OSError:
                    if connection is not None:
                        connection.close()
                    held[place] = None
        for connection in held:
            if connection is not None:
                connection.close()


def _with_photo(photo: bytes) -> bytes:
    """A search with a photo."""
    lines = 'name="k"\r\n\r\n6', 'name="image"; filename="photo.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    field, file = (f"--edge\r\nContent-Disposition: form-data; {line}" for line in lines)
    body = f"{field}\r\n{file}".encode() + photo + b"\r\n--edge--\r\n"
    return _request(body, "multipart/form-data; boundary=edge")


def _by_id(id: str) -> bytes:
    return _request(json.dumps({"id": id, "k": 6}).encode(), "application/json")


def _request(body: bytes, kind: str) -> bytes:
    return HEAD + f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def run(load: Load, users: int, slow: int, idle: int, seconds: float, pids: dict[str, int]) -> dict[str, Any]:
    """One load; its figures."""
    threads = [threading.Thread(target=load.user, args=(n,)) for n in range(users)]
    threads.append(threading.Thread(target=load.probe))
    if slow:
        threads.append(threading.Thread(target=load.hold, args=(slow, DRIPS, True)))
    if idle:
        threads.append(threading.Thread(target=load.hold, args=(idle, (b"",), False)))
    began = time.monotonic()
    spent_s = {name: processor_s(pid) for name, pid in pids.items()}
    users_spent_s = time.process_time()
    memory: dict[str, list[tuple[float, float]]] = {name: [] for name in pids}
    for thread in threads:
        thread.start()
    while (passed := time.monotonic() - began) < seconds:
        for name, pid in pids.items():
            if (rss := rss_mb(pid)) and passed > seconds / 3:  # warm
                memory[name].append((passed / 60, rss))
        time.sleep(0.5)
    load.stop.set()
    for thread in threads:
        thread.join()
    spent_s = {name: processor_s(pid) - spent_s[name] for name, pid in pids.items()}
    users_spent_s = time.process_time() - users_spent_s
    ordered = sorted(load.seconds) or [float("nan")]
    return {
        "statuses": dict(load.statuses),
        "searches_per_s": round(len(load.seconds) / seconds, 1),
        "processor_ms_per_search": {
            name: round(1000 * spent / max(1, len(load.seconds)), 2) for name, spent in spent_s.items()
        },
        "users_ms_per_search": round(1000 * users_spent_s / max(1, len(load.seconds)), 2),
        "p50_ms": round(1000 * ordered[len(ordered) // 2], 1),
        "p99_ms": round(1000 * ordered[int(0.99 * (len(ordered) - 1))], 1),
        "slowest_health_s": round(load.slowest_health_s, 3),
        "memory_slope_mb_per_min": {name: slope(points) for name, points in memory.items()},
    }


def slope(points: list[tuple[float, float]]) -> float | None:
    """Of a straight line through the points."""
    return round(statistics.linear_regression(*zip(*points, strict=True)).slope, 2) if len(points) > 2 else None


def recovery_s(load: Load, usual_s: float) -> float:
    """Seconds after a load until a search takes no more than twice what it usually does."""
    began = time.monotonic()
    with load.session() as session:
        while load.search(session, 0) > 2 * usual_s and time.monotonic() - began < 60:
            pass
    return round(time.monotonic() - began, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=32)
    parser.add_argument("--slow", type=int, default=0, help="connections that send a byte a second")
    parser.add_argument("--idle", type=int, default=0, help="connections that send nothing")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--by", choices=("id", "photo"), default="id", help="what users search with")
    parser.add_argument("--json", action="store_true", help="one object on stdout")
    options = parser.parse_args()
    if max(options.users, options.slow, options.idle) > MOST or options.seconds > LONGEST_S:
        parser.error(f"at most {MOST} of each kind for {LONGEST_S} s")
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        demo_photos.make(photos, products=8, views=6)
        own = settings.load({"LOOKALIKE_HOME": f"{folder}/home"})
        with Stack(own, portal=("127.0.0.1", 0)) as stack:
            assert stack.address
            client = Client(stack.settings)
            index(client, Walk([photos]), progress=lambda _done, _total: None)
            ids = [image.id for image in client.images(limit=48)[0]]
            sent = [path.read_bytes() for path in sorted(photos.rglob("*.jpg"))[:64]] if options.by == "photo" else []
            alone = Load(stack.address, ids, sent)
            with alone.session() as session:
                usual_s = statistics.median(alone.search(session, n) for n in range(30))
            names = ("portal", "worker", "queue")
            pids = {name: pid for name in names if (pid := stack.runner(name).pid)}
            quiet = run(Load(stack.address, ids, sent), options.users, 0, 0, options.seconds, pids)
            report = {
                "by": options.by,
                "users": options.users,
                "slow": options.slow,
                "idle": options.idle,
                "users_alone": quiet,
            }
            if options.slow or options.idle:
                load = Load(stack.address, ids, sent)
                both = run(load, options.users, options.slow, options.idle, options.seconds, pids)
                report |= {"with_slow_clients": both, "p99_ratio": round(both["p99_ms"] / quiet["p99_ms"], 2)}
            report["recovered_after_s"] = recovery_s(alone, usual_s)
    sys.stdout.write(json.dumps(report) + "\n" if options.json else json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
