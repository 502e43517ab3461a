"""What the portal's questions bring beside labels of photos drawn by chance, answer for answer.

    python benchmarks/labelling.py [--data DIR] [--answers 200] [--pairs 20] [--seeds 4] [--preset fast] [--quick]
    python benchmarks/labelling.py --choose [--folds 3]

A simulated person who knows the labels of DIR/train answers so many questions about a gallery without any label:

    queue     the page *Without a label*, as workers.tasks.labelling proposes it: one answer confirms the guess of a
              group or types its label; each photo that does not belong to it is one more answer, leaving it out
    pairs     so many answers are *Same* or *Not the same* about photos without a label and what is most like them

`lookalike train` then learns from labels and answers. Beside it: the same number of photos drawn by chance, each given
its label, one answer each; mean and standard deviation over seeds. Figures are mAP@R on DIR/test, other classes.

`--choose` compares orders of the queue without DIR/test: a third of the classes of DIR/train is held out, the
questions are about the others, and mAP@R is that of the held-out ones by the closed-form head that `fast` fits; three
times over.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from deploy import demo_photos
from ml.data import datasets, decoding
from ml.data.datasets import Dataset
from ml.data.same_pairs import classes_of
from ml.evaluation.evaluate import embed
from ml.evaluation.metrics import mean_average_precision_at_r
from ml.model import embedder
from ml.model.default import provide
from ml.model.network import pretrained
from ml.training.closed_form_head import closed_form_head
from ml.training.config import preset_config
from ml.training.features import Cache, Reader
from ml.training.train import train
from workers.messages import GalleryImage, Selection
from workers.process.neighbourhoods import Neighbourhoods
from workers.store import Hit, Payload, Point, Query
from workers.store.edge import EdgeStore
from workers.tasks.labelling import ORDER, Guess, Order, proposals

GROCERY = Path(__file__).parents[2] / "shared" / "data" / "grocery"
SHOWN = 24  # photos of a group that the page shows
COLLECTION = "gallery"


class Exact:
    """What the questions ask of a store, in memory: many galleries are asked about here, each for a minute."""

    def __init__(self) -> None:
        self.points: dict[str, Point] = {}

    def ensure(self, collection: str, dim: int) -> None: ...

    def close(self) -> None: ...

    def upsert(self, collection: str, points: Sequence[Point]) -> None:
        self.points |= {point.id: point for point in points}
        self._ids = list(self.points)
        self._vectors = np.stack([point.vector for point in self.points.values()])

    def newest(self, collection: str, selection: Selection, *, after: object, limit: int) -> list[Point]:
        found = [point for point in self.points.values() if point.payload.label is None]
        return sorted(found, key=lambda point: -point.payload.newest)[:limit]

    def count(self, collection: str, selection: Selection) -> int:
        return sum(point.payload.label is None for point in self.points.values())

    def version(self, collection: str) -> int:
        return len(self.points)

    def fetch(self, collection: str, ids: Sequence[str], *, with_vectors: bool = False) -> dict[str, Point]:
        return {id: self.points[id] for id in ids}

    def query_batch(self, collection: str, queries: Sequence[Query]) -> list[list[Hit]]:
        similarities = np.stack([query.target for query in queries]) @ self._vectors.T
        return [self._hits(row, query.limit) for row, query in zip(similarities, queries, strict=True)]

    def query(self, collection: str, vector: np.ndarray, k: int) -> list[Hit]:
        return self._hits(self._vectors @ vector, k)

    def _hits(self, similarities: np.ndarray, k: int) -> list[Hit]:
        best = np.argsort(-similarities, kind="stable")[:k]
        return [Hit(self._ids[i], float(similarities[i]), self.points[self._ids[i]].payload) for i in best]


class HardestFirst(Order):
    """The group that its neighbours are least sure of."""

    def worth(self, group: Sequence[Guess]) -> float:
        return -float(np.mean([guess.share for guess in group]))


class LargestFirst(Order):
    """The group that brings the most labels, whatever is known of them."""

    def worth(self, group: Sequence[Guess]) -> float:
        return float(len(group))


CANDIDATES: dict[str, Order] = {
    "hardest first": HardestFirst(),
    "largest first": LargestFirst(),
    "as it is": ORDER,
    **{f"groups within {reach}": Order(group_within=reach) for reach in (1.5, 2.0)},
    **{f"voters within {reach}": Order(voters_within=reach) for reach in (1.5, 2.0)},
    **{f"power {power:.0f}": Order(power=power) for power in (1.0, 3.0)},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=GROCERY, help="folder with train/ and test/, one folder per class")
    parser.add_argument("--answers", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=20, help="answers that are same or not the same")
    parser.add_argument("--seeds", type=int, default=4, help="draws by chance")
    parser.add_argument("--choose", action="store_true", help="compare orders on classes held out of DIR/train")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--quick", action="store_true", help="drawn photos: does it run at all")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if args.quick:
            args.data, args.answers, args.pairs, args.seeds, args.folds = work / "photos", 12, 2, 1, 2
            for part, first in (("train", 0), ("test", 6)):
                made = work / "drawn" / part
                demo_photos.make(made, products=8, views=4)
                (work / "photos" / part).mkdir(parents=True)
                for each in sorted(made.iterdir())[first : first + 6]:
                    each.rename(work / "photos" / part / each.name)
        print(json.dumps((compared if args.choose else measured)(args, work), indent=2))


def measured(args: argparse.Namespace, work: Path) -> dict[str, Any]:
    data, test = datasets.load(args.data / "train"), datasets.load(args.data / "test")
    person = answered(data, vectors_of(data, work), args, EdgeStore(work / "store"), ORDER)
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


def vectors_of(data: Dataset, work: Path) -> np.ndarray:
    """By the model that answers before any training, float32 [n, d]."""
    model = embedder.load(provide(work / "model", work / "compiled"))
    return embed(model, decoding.decode(data, model.preprocessing).array).numpy()


def answered(data: Dataset, vectors: np.ndarray, args: argparse.Namespace, store: Any, queue: Order) -> Person:
    """Answers the questions about a gallery of all photos, none of which has a label."""
    person = Person(data)
    store.ensure(COLLECTION, vectors.shape[1])
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
        neighbourhoods=Neighbourhoods(store, lambda: None),
        gallery=SimpleNamespace(find_many=lambda ids: {id: image(id) for id in ids}),
    )
    put(list(range(len(data))))
    while person.answers < args.answers - args.pairs:
        began = time.perf_counter()
        groups = proposals(serving, limit=1, order=queue).groups
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


def compared(args: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Each order's mAP@R on held-out classes, less the mean of chance, by fold. DIR/test is not read."""
    data = datasets.load(args.data / "train")
    vectors, sides = vectors_of(data, work), features_of(data)
    gains: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    chance: list[dict[str, float]] = []
    for fold in range(args.folds):
        held = data.labels % args.folds == fold  # classes are sorted by name: a fair draw
        rows = np.flatnonzero(~held)
        asked = data.subset(rows)

        def scored(labels: Mapping[int, str], rows: np.ndarray = rows, held: np.ndarray = held) -> float:
            return head_score(sides, rows[list(labels)], list(labels.values()), held, data.labels)

        drawn = []
        for seed in range(args.seeds):
            chosen = np.random.default_rng(seed).permutation(len(asked))[: args.answers]
            drawn.append(scored({int(i): name_of(asked, i) for i in chosen}))
        spread = statistics.stdev(drawn) if len(drawn) > 1 else 0.0
        chance.append({"mean": round(statistics.mean(drawn), 2), "standard deviation": round(spread, 2)})
        for name, order in CANDIDATES.items():
            person = answered(asked, vectors[rows], args, Exact(), order)
            labels = classes_of(person.labels, person.said).labels
            gains[name].append(
                round(scored({int(id, 16): each for id, each in labels.items()}) - statistics.mean(drawn), 2)
            )
            print(f"fold {fold}: {name}: {gains[name][-1]:+.2f} with {len(labels)} photos", file=sys.stderr, flush=True)
    ranked = sorted(gains, key=lambda name: -statistics.mean(gains[name]))
    return {
        "photos": len(data),
        "answers": args.answers,
        "chance, by fold": chance,
        "gain over chance": {
            name: {"mean": round(statistics.mean(gains[name]), 2), "by fold": gains[name]} for name in ranked
        },
    }


def features_of(data: Dataset) -> list[Tensor]:
    """What the head of `fast` is fitted on: features of each image and of its mirror image, float32 [n, d]."""
    config = preset_config("fast")
    model, own = pretrained(config.backbone, layer_norm=True, size_px=config.test_px)
    resize_px = round(own.size_px / (1 - config.margin))
    array = decoding.decode(data, replace(own, mirror=True, resize_px=resize_px, fit=config.fit)).array
    reader = Reader(model, torch.device("cpu"), None, Cache(), config.backbone)
    return [reader.features(array, "reading features", is_mirrored=mirrored) for mirrored in (False, True)]


def head_score(
    sides: Sequence[Tensor], rows: np.ndarray, names: Sequence[str], held: np.ndarray, labels: np.ndarray
) -> float:
    """mAP@R in percent on held-out images of a head that is fitted on some others with the labels they got."""
    config = preset_config("fast")
    numbers = torch.from_numpy(np.unique(names, return_inverse=True)[1]).repeat(len(sides))
    fitted_on = torch.cat([side[rows] for side in sides])
    weight, bias = closed_form_head(fitted_on, numbers, dim=config.dim, shrinkage=config.shrinkage)
    unit = [functional.normalize(side[held] @ weight.T + bias, dim=1) for side in sides]
    vectors = functional.normalize(torch.stack(unit).mean(0), dim=1)
    return 100 * mean_average_precision_at_r(vectors, torch.from_numpy(labels[held]).long())


if __name__ == "__main__":
    main()
