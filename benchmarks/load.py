"""Many users, and clients that drip or sit there, against a whole system on 127.0.0.1; nothing else is reached.

    python benchmarks/load.py --slow 200 --idle 200 --users 32 --seconds 60 --json
    python benchmarks/load.py --users 200 --seconds 120 --json
    python benchmarks/load.py --by photo --users 32 --seconds 30 --json

Users search by id, or with photos, one request after the other. The same users run first without the slow clients, for
comparison. Told are the statuses, throughput, p50 and p99 of searches, what a search costs each process in time of the
processor (which hardly depends on what else the machine does), the slowest answer of /health/live, the memory slope of
each process, and how long after the load a search is as quick as before it.
"""

import argparse
import collections
import contextlib
import http.client
import json
import os
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

import requests

from deploy import demo_photos
from deploy.cli.find_files import Walk
from deploy.cli.upload_folder import index
from deploy.local.stack import Stack
from workers import settings
from workers.client import Client

LONGEST_S, MOST = 600, 500  # bounds of what may be asked for
HEAD = b"POST /api/v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\n"
DRIPS = (HEAD, HEAD + b"Content-Type: application/json\r\nContent-Length: 50000\r\n\r\n")


class Load:
    """Threads against one portal, until `stop` is set."""

    def __init__(self, address: str, ids: list[str], photos: Sequence[bytes] = ()) -> None:
        self.address = address
        self._place = urlsplit(address).netloc
        self._asked = [_with_photo(photo) for photo in photos] or [_by_id(id) for id in ids]
        self.stop = threading.Event()
        self.seconds: list[float] = []
        self.statuses: collections.Counter[str] = collections.Counter()
        self.slowest_health_s = 0.0

    def session(self) -> contextlib.closing[http.client.HTTPConnection]:
        """A connection of one user. What it costs is taken from the portal's cores, so it is the leanest there is."""
        return contextlib.closing(http.client.HTTPConnection(self._place, timeout=40))

    def search(self, session: http.client.HTTPConnection, number: int) -> float:
        """One search; returns its seconds."""
        body, kind = self._asked[number % len(self._asked)]
        began = time.perf_counter()
        try:
            session.request("POST", "/api/v1/search", body, {"Content-Type": kind})
            answer = session.getresponse()
            answer.read()
            status = str(answer.status)
            if answer.status == 503:
                status += " with Retry-After" if "Retry-After" in answer.headers else " without Retry-After"
                self.stop.wait(min(5.0, float(answer.headers.get("Retry-After", 1))))
        except (OSError, http.client.HTTPException) as error:
            session.close()  # the next one opens it anew
            status = type(error).__name__
        took = time.perf_counter() - began
        self.statuses[status] += 1
        if status == "200":
            self.seconds.append(took)
        return took

    def user(self, number: int) -> None:
        with self.session() as session:
            while not self.stop.is_set():
                self.search(session, number)
                number += 7

    def probe(self) -> None:
        while not self.stop.wait(0.25):
            began = time.perf_counter()
            with contextlib.suppress(requests.RequestException):
                requests.get(f"{self.address}/health/live", timeout=10)
            self.slowest_health_s = max(self.slowest_health_s, time.perf_counter() - began)

    def hold(self, count: int, kinds: tuple[bytes, ...], drips: bool) -> None:
        """Keeps connections open; those that the server closes are made anew."""
        where = (urlsplit(self.address).hostname or "127.0.0.1", urlsplit(self.address).port or 80)
        held: list[socket.socket | None] = [None] * count
        while not self.stop.wait(1.0):
            for place, connection in enumerate(held):
                try:
                    if connection is None:
                        connection = held[place] = socket.create_connection(where, 2)
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


def _with_photo(photo: bytes) -> tuple[bytes, str]:
    """Body and content type of a search with a photo."""
    lines = 'name="k"\r\n\r\n6', 'name="image"; filename="photo.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    field, file = (f"--edge\r\nContent-Disposition: form-data; {line}" for line in lines)
    return f"{field}\r\n{file}".encode() + photo + b"\r\n--edge--\r\n", "multipart/form-data; boundary=edge"


def _by_id(id: str) -> tuple[bytes, str]:
    return json.dumps({"id": id, "k": 6}).encode(), "application/json"


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
    ordered = sorted(load.seconds) or [float("nan")]
    return {
        "statuses": dict(load.statuses),
        "searches_per_s": round(len(load.seconds) / seconds, 1),
        "processor_ms_per_search": {
            name: round(1000 * spent / max(1, len(load.seconds)), 2) for name, spent in spent_s.items()
        },
        "p50_ms": round(1000 * ordered[len(ordered) // 2], 1),
        "p99_ms": round(1000 * ordered[int(0.99 * (len(ordered) - 1))], 1),
        "slowest_health_s": round(load.slowest_health_s, 3),
        "memory_slope_mb_per_min": {name: slope(points) for name, points in memory.items()},
    }


def rss_mb(pid: int) -> float | None:
    """Resident memory of a process, where /proc tells it."""
    with contextlib.suppress(OSError):
        if found := re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()):
            return int(found[1]) / 1024
    return None


def processor_s(pid: int) -> float:
    """Processor time of a process and those that it started, the portal's and the decoders, where /proc tells it."""
    spent = 0.0
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        spent = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        for task in Path(f"/proc/{pid}/task").iterdir():
            spent += sum(processor_s(int(child)) for child in (task / "children").read_text().split())
    return spent


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
