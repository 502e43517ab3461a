"""What the portal's questions bring beside labels of photos drawn by chance, answer for answer.

    python benchmarks/labelling.py [--data DIR] [--answers 200] [--pairs 20] [--seeds 3] [--preset fast] [--quick]

A simulated person who knows the labels of DIR/train answers so many questions about a gallery without any label:

    queue     the page *Without a label*, as workers.tasks.labelling proposes it: one answer confirms the guess of a
              group or types its label; each photo that does not belong to it is one more answer, leaving it out
    pairs     so many answers are *Same* or *Not the same* about photos without a label and what is most like them

`lookalike train` then learns from labels and answers. Beside it: the same number of photos drawn by chance, each given
its label, one answer each; mean and standard deviation over seeds. Figures are mAP@R on DIR/test, other classes.
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from deploy import demo_photos
from ml.data import datasets, decoding
from ml.data.datasets import Dataset
from ml.data.same_pairs import classes_of
from ml.evaluation.evaluate import embed
from ml.model import embedder
from ml.model.default import provide
from ml.training.config import preset_config
from ml.training.features import Cache
from ml.training.train import train
from workers.messages import GalleryImage
from workers.store import Payload, Point
from workers.store.edge import EdgeStore
from workers.tasks.labelling import proposals

GROCERY = Path(__file__).parents[2] / "shared" / "data" / "grocery"
SHOWN = 24  # photos of a group that the page shows
COLLECTION = "gallery"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=GROCERY, help="folder with train/ and test/, one folder per class")
    parser.add_argument("--answers", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=20, help="answers that are same or not the same")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--quick", action="store_true", help="drawn photos: does it run at all")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if args.quick:
            args.data, args.answers, args.pairs, args.seeds = work / "photos", 12, 2, 1
            for part, first in (("train", 0), ("test", 6)):
                made = work / "drawn" / part
                demo_photos.make(made, products=8, views=4)
                (work / "photos" / part).mkdir(parents=True)
                for each in sorted(made.iterdir())[first : first + 6]:
                    each.rename(work / "photos" / part / each.name)
        print(json.dumps(measured(args, work), indent=2))


def measured(args: argparse.Namespace, work: Path) -> dict[str, Any]:
    data, test = datasets.load(args.data / "train"), datasets.load(args.data / "test")
    person = answered(data, args, work)
    cache = Cache()

    def trained(paths_and_labels: list[tuple[Path, str]], name: str) -> float:
        chosen = datasets.from_pairs(paths_and_labels, name="gallery")
        result = train(preset_config(args.preset), chosen, work / name, test=test, cache=cache)
        assert result is not None
        return 100 * float(result.metrics["map@r"])

    classes = classes_of(person.labels, person.said)
    ours = trained([(data.paths[int(id, 16)], label) for id, label in classes.labels.items()], "answers")
    drawn = []
    for seed in range(args.seeds):
        chosen = np.random.default_rng(seed).permutation(len(data))[: args.answers]
        drawn.append(trained([(data.paths[i], name_of(data, i)) for i in chosen], f"drawn-{seed}"))
    return {
        "photos": len(data),
        "answers": person.answers,
        "of them same or not the same": len(person.said),
        "photos with a class": len(classes.labels),
        "wrong labels": sum(label != name_of(data, int(id, 16)) for id, label in person.labels.items()),
        "questions took, s": {"median": statistics.median(person.took), "longest": max(person.took)},
        "mAP@R": {
            "answers": round(ours, 2),
            "drawn by chance": round(statistics.mean(drawn), 2),
            "standard deviation": round(statistics.stdev(drawn), 2) if len(drawn) > 1 else None,
        },
    }


def name_of(data: Dataset, position: int) -> str:
    return str(data.classes[data.labels[position]])


@dataclass
class Person:
    """Who knows every label, and what was answered: labels and pairs by id, how many answers, what questions took."""

    data: Dataset
    labels: dict[str, str] = field(default_factory=dict)
    said: list[tuple[str, str, bool]] = field(default_factory=list)
    answers: int = 0
    took: list[float] = field(default_factory=list)

    def knows(self, id: str) -> str:
        return name_of(self.data, int(id, 16))


def answered(data: Dataset, args: argparse.Namespace, work: Path) -> Person:
    """Answers the questions about a gallery of all photos, none of which has a label."""
    model = embedder.load(provide(work / "model", work / "compiled"))
    vectors = embed(model, decoding.decode(data, model.preprocessing).array).numpy()
    person = Person(data)
    store = EdgeStore(work / "store")
    store.ensure(COLLECTION, model.dim)
    # In no order: what is newest says nothing of the class.
    order = np.random.default_rng(0).permutation(len(data))

    def put(positions: list[int]) -> None:
        points = []
        for i in positions:
            label = person.labels.get(f"{i:032x}")
            points.append(Point(f"{i:032x}", vectors[i], Payload(f"{i}.jpg", label, newest=int(order[i]) + 1)))
        store.upsert(COLLECTION, points)

    def image(id: str) -> GalleryImage:
        return GalleryImage(id, id, id, None, 1, 1, "JPEG", 1, 0.0)

    serving: Any = SimpleNamespace(
        store=store,
        active=lambda: SimpleNamespace(collection=COLLECTION),
        batcher=SimpleNamespace(yield_to_searches=lambda: None),
        gallery=SimpleNamespace(find_many=lambda ids: {id: image(id) for id in ids}),
    )
    put(list(range(len(data))))
    while person.answers < args.answers - args.pairs:
        began = time.perf_counter()
        groups = proposals(serving, limit=1).groups
        person.took.append(round(time.perf_counter() - began, 4))
        if not groups:
            break
        shown = [each.id for each in groups[0].images[:SHOWN]]
        names = [person.knows(id) for id in shown]
        label = max(sorted(set(names)), key=names.count)
        belong = [id for id, name in zip(shown, names, strict=True) if name == label]
        room = args.answers - args.pairs - person.answers - 1
        if len(shown) - len(belong) > room:  # no answers are left for leaving out: nothing is confirmed that is wrong
            break
        person.answers += 1 + len(shown) - len(belong)
        person.labels |= dict.fromkeys(belong, label)
        put([int(id, 16) for id in belong])
    nameless = [i for i in order if f"{i:032x}" not in person.labels]
    for i in nameless[: args.answers - person.answers]:
        hits = store.query(COLLECTION, vectors[i], 2)
        other = next(hit.id for hit in hits if hit.id != f"{i:032x}")
        person.said.append((f"{i:032x}", other, person.knows(other) == name_of(data, int(i))))
        person.answers += 1
    store.close()
    return person


if __name__ == "__main__":
    main()
