"""How long a person waits for a search: POST /api/v1/search over the real system, warm, one user at a time.

    python benchmarks/portal_search.py                    the photos of ../shared/data/grocery, or drawn ones
    python benchmarks/portal_search.py --photos ~/Pictures
    python benchmarks/portal_search.py --portal http://127.0.0.1:8000    a system that is running already
    python benchmarks/portal_search.py --slow             beside 16 searches and 16 uploads of a slow JPEG, and idle

Starts the portal, Valkey and a worker as `lookalike up` does, on a home that is thrown away. Every query is another
photo, sent whole; the clock runs from the first byte sent to the last byte received. The stages are the answer's own:
wait (queue), decode, embed, search (store); what is left is the portal, the way back and HTTP.
"""

import argparse
import io
import json
import platform
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import requests
from PIL import Image

from deploy.cli.find_files import Walk
from deploy.cli.upload_folder import index
from deploy.local.stack import Stack
from workers import settings
from workers.client import Client

GROCERY = Path(__file__).resolve().parents[2] / "shared" / "data" / "grocery"
STAGES = ("wait", "decode", "embed", "search")


@contextmanager
def own_portal(photos: Path, **set_by_name: str) -> Iterator[str]:
    """A system of our own with the photos in its gallery; yields its address."""
    with (
        tempfile.TemporaryDirectory() as home,
        Stack(settings.load({"LOOKALIKE_HOME": home, **set_by_name}), portal=("127.0.0.1", 0)) as stack,
    ):
        index(Client(stack.settings), Walk([photos]), progress=lambda _done, _total: None)
        assert stack.address
        yield stack.address


def large(photo: Path) -> bytes:
    """The photo as a telephone would have taken it: 12 megapixels and some noise, 3 to 4 MB."""
    with Image.open(photo) as image:
        pixels = np.asarray(image.convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC), np.int16)
    noise = np.random.default_rng(0).integers(-6, 7, pixels.shape, np.int16)
    buffer = io.BytesIO()
    Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def measure(address: str, queries: Sequence[tuple[str, bytes]]) -> list[dict[str, float]]:
    """Milliseconds of each search, in all and by stage."""
    measured = []
    with requests.Session() as session:
        for query in queries:
            began = time.perf_counter()
            answer = session.post(f"{address}/api/v1/search", files={"image": query}, data={"k": "12"})
            took = 1000 * (time.perf_counter() - began)
            answer.raise_for_status()
            stages = {stage: answer.json()["timings_ms"].get(stage, 0.0) for stage in STAGES}
            measured.append({"all": took, **stages, "portal": took - sum(stages.values())})
    return measured


def slow_jpeg(number: int, side: int = 10_000, scans: int = 23) -> bytes:
    """A JPEG of 200 kB with nearly as many scans as are allowed over 100 megapixels. Each number is another file."""
    buffer = io.BytesIO()
    Image.new("L", (side, side), 7 * number).save(buffer, "JPEG", quality=50, progressive=True)
    data = buffer.getvalue()
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:last] + data[last:end] * scans + data[end:]


def send_slow(address: str, images: Sequence[bytes]) -> list[tuple[str, float]]:
    """Half of the images into searches, half into uploads, at once: what became of each, and after which seconds."""
    count = len(images) // 2

    def send(number: int, data: bytes) -> tuple[str, float]:
        began = time.perf_counter()
        if number < count:
            answer = requests.post(f"{address}/api/v1/search", files={"image": ("slow.jpg", data)}, timeout=600)
            outcome = f"search: {answer.status_code} {answer.json().get('detail', '')}"
        else:
            files = {"images": ("slow.jpg", data)}
            answer = requests.post(f"{address}/api/v1/images", files=files, data={"wait_s": "0"}, timeout=600)
            outcome = f"upload: {answer.status_code} {'; '.join(_reasons(address, answer.json()))}"
        return outcome, time.perf_counter() - began

    with ThreadPoolExecutor(2 * count) as threads:
        return list(threads.map(send, range(2 * count), images))


def _reasons(address: str, upload: dict[str, Any]) -> list[str]:
    """Why the files of an upload were refused, once its job has ended."""
    if "job" not in upload:
        return [upload["detail"]]
    while True:
        status = requests.get(f"{address}/api/v1/jobs/{upload['job']}", timeout=60).json()
        if status["ended_at"] is not None:
            return [each["reason"] for each in status["failures"]]
        time.sleep(0.5)


def beside_slow(address: str, queries: Sequence[tuple[str, bytes]], count: int = 16) -> dict[str, Any]:
    """Ordinary searches, first alone and then for as long as slow photos are at work."""
    images = [slow_jpeg(number) for number in range(2 * count)]
    measure(address, queries[:30])
    idle = [each["all"] for each in measure(address, queries)]
    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(send_slow, address, images)
        beside: list[float] = []
        while not slow.done():
            beside += [each["all"] for each in measure(address, queries[:25])]
    outcomes = Counter(outcome for outcome, _ in slow.result())
    return {
        "idle": spread(idle),
        "beside_slow": spread(beside),
        "p99_ratio": round(spread(beside)["p99_ms"] / spread(idle)["p99_ms"], 2),
        "slow": outcomes,
        "longest_slow_s": round(max(seconds for _, seconds in slow.result()), 1),
    }


def spread(milliseconds: Sequence[float]) -> dict[str, float]:
    """Count, median, p95 and p99."""
    totals = sorted(milliseconds)
    at = {f"p{share}_ms": round(totals[int(share / 100 * len(totals))], 1) for share in (95, 99)}
    return {"searches": len(totals), "median_ms": round(statistics.median(totals), 1), **at}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--portal", help="address of a running portal; its gallery is used as it is")
    parser.add_argument("--searches", type=int, default=300)
    parser.add_argument("--slow", action="store_true", help="beside photos that take longer than they may, and idle")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as drawn:
        photos = options.photos or (GROCERY if GROCERY.is_dir() else Path(drawn))
        if photos == Path(drawn):
            from deploy import demo_photos

            demo_photos.make(photos)
        found = sorted(path for path in photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        step = max(1, len(found) // options.searches)
        queries = [(each.name, each.read_bytes()) for each in (found * options.searches)[::step][: options.searches]]
        if options.slow:
            with own_portal(photos, LOOKALIKE_MAX_DECODE_SECONDS="1") as address:
                print(json.dumps(beside_slow(address, queries), indent=2))
            return
        queries_large = [("large.jpg", large(found[0]))] * 30
        if options.portal:
            report(options.portal, queries, queries_large)
        else:
            with own_portal(photos) as address:
                report(address, queries, queries_large)


def report(address: str, queries: Sequence[tuple[str, bytes]], queries_large: Sequence[tuple[str, bytes]]) -> None:
    """Warms up, measures, prints one JSON object."""
    measure(address, queries[:30])
    measured = measure(address, queries)
    medians = by_part(measured)
    medians_large = by_part(measure(address, queries_large)[5:])
    totals = sorted(each["all"] for each in measured)
    health = requests.get(f"{address}/api/v1/health", timeout=10).json()
    print(
        json.dumps(
            {
                "images": health["images"],
                "model": health["model"],
                "precision": health["workers"][0]["precision"],
                "machine": f"{platform.machine()}, {platform.system()}",
                "searches": len(totals),
                "median_ms": medians["all"],
                "p95_ms": round(totals[int(0.95 * len(totals))], 1),
                "p99_ms": round(totals[int(0.99 * len(totals))], 1),
                "stages_median_ms": {part: medians[part] for part in (*STAGES, "portal")},
                "large_photo": {"megabytes": round(len(queries_large[0][1]) / 1e6, 1), "median_ms": medians_large},
            },
            indent=2,
        )
    )


def by_part(measured: Sequence[dict[str, float]]) -> dict[str, float]:
    """Medians of the whole and of each stage."""
    return {part: round(statistics.median(each[part] for each in measured), 1) for part in measured[0]}


if __name__ == "__main__":
    main()
