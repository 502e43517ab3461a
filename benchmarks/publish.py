"""What searchers notice while a model is published: nothing, if the figures hold.

    python benchmarks/publish.py                      the photos of ../shared/data/grocery, or drawn ones
    python benchmarks/publish.py --model FOLDER       publish this model; without it, the default one at 192 px

Five searches a second over the whole gallery, first in peace, then while a new collection is built, checked and
switched to. Reported: failed searches, answers whose model and collection do not belong together or whose query does
not find itself, p50 and p99 in peace and meanwhile, photos missing afterwards, and the seconds of a rollback.
"""

import argparse
import dataclasses
import json
import platform
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from deploy.cli.find_files import Walk
from deploy.cli.upload_folder import index
from deploy.local.stack import Stack
from ml.model.network import pretrained
from ml.model.save import save_bundle
from workers import settings as settings_of
from workers.client import Client

GROCERY = Path(__file__).resolve().parents[2] / "shared" / "data" / "grocery"


@dataclass
class Load:
    """Searches at a steady rate from a few threads; each answer's milliseconds and whether it was right."""

    client: Client
    photos: list[Path]
    per_second: float
    milliseconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    mixed: int = 0
    pairs: set[tuple[str, str]] = field(default_factory=set)

    def run(self, stop: threading.Event) -> None:
        threads = [threading.Thread(target=self._search, args=(stop, n)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _search(self, stop: threading.Event, number: int) -> None:
        pause = 4 / self.per_second
        stop.wait(number * pause / 4)
        position = number
        while not stop.is_set():
            photo = self.photos[position * 37 % len(self.photos)]
            position += 4
            began = time.perf_counter()
            try:
                answer = self.client.search(photo.read_bytes())
            except Exception as error:  # noqa: BLE001 - any failure counts
                self.failed.append(repr(error))
            else:
                self.milliseconds.append(1000 * (time.perf_counter() - began))
                self.pairs.add((answer.model, answer.collection))
                self.mixed += answer.results[0].similarity < 0.999 or answer.model not in answer.collection
            stop.wait(max(0.0, pause - (time.perf_counter() - began)))


def measured(client: Client, photos: list[Path], during: float | str) -> tuple[Load, dict[str, object]]:
    """A load of some seconds, or as long as a model is being published."""
    load, stop = Load(client, photos, 5.0), threading.Event()
    thread = threading.Thread(target=load.run, args=(stop,))
    thread.start()
    report: dict[str, object] = {}
    if isinstance(during, str):
        status = client.wait(client.publish(during, force=True))
        report = {"state": status.state, "seconds": status.seconds, "detail": status.detail}
        time.sleep(2)
    else:
        time.sleep(during)
    stop.set()
    thread.join()
    return load, report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=GROCERY if GROCERY.is_dir() else None)
    parser.add_argument("--model", type=Path, help="folder of the model to publish")
    parser.add_argument("--quiet-s", type=float, default=30.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        folder = options.photos or Path(home) / "photos"
        if options.photos is None:
            from deploy import demo_photos

            demo_photos.make(folder)
        model = options.model or Path(home) / "model"
        if options.model is None:
            network, preprocessing = pretrained()
            network, _ = pretrained(preprocessing=dataclasses.replace(preprocessing, size_px=192, resize_px=192))
            save_bundle(network, model, name="other")
        settings = settings_of.load({"LOOKALIKE_HOME": f"{home}/home"})
        with Stack(settings, portal=None) as stack:
            client = Client(stack.settings)
            index(client, Walk([folder]), progress=lambda _done, _total: None)
            photos = sorted(folder.rglob("*.jpg"))
            name = client.registry.register(model.resolve(), cache_dir=settings.compiled)
            for photo in photos[:20]:
                client.search(photo.read_bytes())
            quiet, _ = measured(client, photos, options.quiet_s)
            busy, publish = measured(client, photos, name)
            missing = client.wait(client.verify()).detail["missing"]
            before = client.active()
            began = time.perf_counter()
            client.rollback()
            while client.search(photos[0].read_bytes(), k=1).collection == before.collection:  # type: ignore[union-attr]
                pass
            rollback_s = time.perf_counter() - began
    figures = {
        "photos": len(photos),
        "searches": len(busy.milliseconds),
        "failed": len(busy.failed),
        "mixed": busy.mixed,
        "collections seen": len(busy.pairs),
        "missing afterwards": missing,
        "quiet p50 ms": round(statistics.median(quiet.milliseconds), 1),
        "quiet p99 ms": round(statistics.quantiles(quiet.milliseconds, n=100)[98], 1),
        "publishing p50 ms": round(statistics.median(busy.milliseconds), 1),
        "publishing p99 ms": round(statistics.quantiles(busy.milliseconds, n=100)[98], 1),
        "publish s": publish["seconds"],
        "rollback s": round(rollback_s, 2),
    }
    figures["p99 ratio"] = round(figures["publishing p99 ms"] / figures["quiet p99 ms"], 2)  # type: ignore[operator]
    print(json.dumps({"machine": platform.processor() or platform.machine(), **figures}, indent=2))
    for failure in busy.failed[:5]:
        print(failure)


if __name__ == "__main__":
    main()
