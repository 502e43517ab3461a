"""What a training brings whose head is then fitted to the gallery, by new queries: `lookalike train` beside a gallery.

    python benchmarks/tuned_training.py [--data ../shared/data/grocery] [--preset fast] [--epochs N]

The folder holds train/ and test/, each with one folder per class. The even photos of each class of test/ are indexed,
without labels; train/ is trained on, as `lookalike train` does it beside that gallery; the odd photos ask the even
ones. Held-out classes of train/ choose everything. Seconds are of the whole training, by the clock and of the
processor, children included; the first depend on what else the machine does.
"""

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.processes import processor_s
from benchmarks.tune import GROCERY, measured
from ml.data import datasets, decoding
from ml.evaluation.evaluate import embed
from ml.model import embedder
from ml.model.registry import Registry
from ml.tuning.gallery_head import Conversion
from workers import settings as settings_module
from workers.gallery import Gallery
from workers.messages import TrainRequest
from workers.trainer.report import Report
from workers.trainer.train import train


class _Shown(Report):
    def say(self, line: str) -> None:
        print(f"<!-- {line} -->", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=GROCERY, help="folder with train/ and test/")
    parser.add_argument("--preset", choices=["fast", "accurate"], default="fast")
    parser.add_argument("--epochs", type=int, help="other than the preset's")
    arguments = parser.parse_args()
    test = datasets.load(arguments.data / "test")
    order = np.concatenate([np.flatnonzero(test.labels == label) for label in range(len(test.classes))])
    with tempfile.TemporaryDirectory() as home:
        settings = replace(settings_module.load(), home=Path(home), storage="")
        gallery = Gallery.open(settings)
        for row in order[::2]:
            gallery.add(test.paths[row], path=test.paths[row].name, label=None)
        began, used = time.monotonic(), processor_s(os.getpid())
        config = {} if arguments.epochs is None else {"epochs": arguments.epochs}
        trained = train(TrainRequest(str(arguments.data / "train"), None, arguments.preset, config), settings, _Shown())
        seconds = time.monotonic() - began, processor_s(os.getpid()) - used
        print(f"<!-- {trained.tuning} -->")
        folder = Registry(settings.models_url).fetch(trained.model, Path(home) / "fetched")
        model = embedder.load(folder, cache_dir=settings.compiled)
        decoded = decoding.decode(test, model.preprocessing)
        vectors, labels = embed(model, decoded.array).numpy(), decoded.dataset.labels
        untuned = replace(model.head, tuning=())
        print("| new queries | mAP@R | recall@1 | seconds | of the processor |\n|---|---|---|---|---|")
        found = measured(vectors[order[::2]], labels[order[::2]], vectors[order[1::2]], labels[order[1::2]])
        if model.head.tuning:
            plain = Conversion(model.head, untuned)(vectors)
            before = measured(plain[order[::2]], labels[order[::2]], plain[order[1::2]], labels[order[1::2]])
            print(f"| {arguments.preset}, by labels alone | {before[0]:.1f} | {before[1]:.1f} | | |")
        print(f"| {arguments.preset} | {found[0]:.1f} | {found[1]:.1f} | {seconds[0]:.0f} | {seconds[1]:.0f} |")


if __name__ == "__main__":
    main()
