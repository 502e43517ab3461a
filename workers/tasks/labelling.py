"""What helps people to label: guesses for what has no label, in groups, and what its label may be wrong for."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from workers.messages import Outlier, Outliers, Proposal, Proposals, Selection
from workers.process.neighbourhoods import Neighbourhood, Vote
from workers.process.serving import Serving

_LOOKED_AT = 240  # unlabelled images that are grouped at a time: benchmarks/labelling.py
_VOTERS = 5
_TEMPERATURE = 0.1  # of similarities; a vote that much further away counts e times less
_REACHES = (0.1, 0.4)  # what a reach is at least and at most: see _reach
_OF_A_LABEL = 1_000  # images of a label that are compared with each other
_FAR = 2.5  # standard deviations
_AT_ONCE = 32  # queries between two looks at whether a search waits


@dataclass(frozen=True)
class Guess:
    """What an image's neighbours suggest: the label with the largest share of the votes.

    `novelty` is the cosine distance to the nearest labelled neighbour, 1 where none is near.
    """

    label: str | None
    share: float
    novelty: float


@dataclass(frozen=True)
class Order:
    """How the queue groups and sorts. Chosen on held-out classes of a training set: benchmarks/labelling.py --choose.

    Args:
        group_within: times the reach: how far the farthest of a group may be from each other. See `_reach`.
        voters_within: times the reach: neighbours that are farther away say nothing.
        no_idea: of a group that nobody voted on, the share that is taken to belong together.
        power: of the shares: how much less an uncertain group counts.
    """

    group_within: float = 1.75
    voters_within: float = 1.5
    no_idea: float = 0.9
    power: float = 2.0

    def worth(self, group: Sequence[Guess]) -> float:
        """What an answer about a group teaches: the labels that it brings, each the more the less is known like it.

        Who answers confirms the group at once and leaves out one by one what does not belong: that costs answers, too.
        """
        shares = [guess.share if guess.label is not None else self.no_idea for guess in group]
        belongs = [float(share**self.power) for share in shares]
        taught = sum(chance * guess.novelty for chance, guess in zip(belongs, group, strict=True))
        return taught / (1 + sum(1 - chance for chance in belongs))


ORDER = Order()


def proposals(serving: Serving, *, limit: int, skip: int = 0, order: Order = ORDER) -> Proposals:
    """Groups of the newest images without a label, each with the label that its neighbours suggest.

    A group holds images that are all close to each other, so that none leads to another by a chain, and whose
    neighbours suggest the same label. What teaches most comes first: see `Order.worth`.

    Args:
        serving: this worker's store and gallery.
        limit: groups.
        skip: groups to pass over before.
        order: how they are made and sorted.
    """
    collection, selection = serving.active().collection, Selection(unlabelled=True)
    total = serving.store.count(collection, selection)
    found = serving.neighbourhoods.of(collection, _looked_at(serving, collection))
    if not found:
        return Proposals((), total)
    ids, vectors = list(found), np.stack([each.vector for each in found.values()])
    reach = _reach(found.values())
    within = order.voters_within * reach
    votes = serving.neighbourhoods.votes(collection, found, _VOTERS, within=within)
    guesses = [guess(votes[id]) for id in ids]
    members: dict[tuple[int, str | None], list[int]] = defaultdict(list)
    for position, cluster in enumerate(complete_linkage(1 - vectors @ vectors.T, order.group_within * reach)):
        label = guesses[position].label
        members[cluster, label].append(position)
    groups = sorted(members.items(), key=lambda group: -order.worth([guesses[i] for i in group[1]]))
    made: list[Proposal] = []
    for (_, label), positions in groups[skip:]:
        if len(made) == limit:
            break
        images = serving.gallery.find_many([ids[i] for i in positions])
        share = float(np.mean([guesses[i].share for i in positions]))
        if images:
            made.append(Proposal(label, round(share, 4), tuple(images.values())))
    return Proposals(tuple(made), total, len(groups))


def look_ahead(serving: Serving) -> None:
    """Finds what the next `proposals` will look at, so that whoever asks for them does not wait for it."""
    collection = serving.active().collection
    serving.neighbourhoods.of(collection, _looked_at(serving, collection))


def _looked_at(serving: Serving, collection: str) -> list[str]:
    unlabelled = serving.store.newest(collection, Selection(unlabelled=True), after=None, limit=_LOOKED_AT)
    return [point.id for point in unlabelled]


def guess(votes: Sequence[Vote]) -> Guess:
    """What the nearest labelled neighbours say, the nearer the weightier; no label where there is none.

    Args:
        votes: their labels and similarities, the nearest first.
    """
    if not votes:
        return Guess(None, 0.0, 1.0)
    nearest = votes[0][1]
    weights: dict[str, float] = defaultdict(float)
    for label, similarity in votes:
        weights[label] += float(np.exp((similarity - nearest) / _TEMPERATURE))
    label, most = min(weights.items(), key=lambda vote: (-vote[1], vote[0]))
    return Guess(label, most / sum(weights.values()), 1 - nearest)


def outliers(serving: Serving, *, label: str, limit: int) -> Outliers:
    """Images whose label may be wrong: far from the others of their label, or most of their neighbours have another.

    Args:
        serving: this worker's store and gallery.
        label: the label.
        limit: how many images, the farthest first.
    """
    collection = serving.active().collection
    points = list(serving.store.points(collection, label=label, limit=_OF_A_LABEL))
    count = serving.store.count(collection, Selection(label=label))
    ids, vectors = _vectors(serving, collection, [point.id for point in points])
    if len(ids) < 3:
        return Outliers(label, count, ())
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -1.0)
    few = min(3, len(ids) - 1)
    closeness = np.partition(similarity, len(ids) - few, axis=1)[:, -few:].mean(axis=1)
    doubtful = np.argsort(closeness)[: 2 * limit]
    bound = closeness.mean() - _FAR * closeness.std()
    found = []
    around = serving.neighbourhoods.of(collection, [ids[i] for i in doubtful])
    votes = serving.neighbourhoods.votes(collection, around, _VOTERS)
    for i in doubtful:
        other = guess(votes.get(ids[i], ())).label
        is_nearer = other not in (None, label)
        if is_nearer or closeness[i] < bound:
            found.append((ids[i], float(closeness[i]), other if is_nearer else None))
    images = serving.gallery.find_many([id for id, _, _ in found])
    told = [Outlier(images[id], round(close, 4), like) for id, close, like in found if id in images]
    return Outliers(label, count, tuple(told[:limit]))


def _vectors(serving: Serving, collection: str, ids: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Those of the images that exist, and their vectors, float32 [n, d]."""
    found: dict[str, np.ndarray] = {}
    for start in range(0, len(ids), _AT_ONCE):
        serving.batcher.yield_to_searches()
        stored = serving.store.fetch(collection, ids[start : start + _AT_ONCE], with_vectors=True)
        found |= {id: point.vector for id, point in stored.items() if point.vector is not None}
    return list(found), np.stack(list(found.values())) if found else np.empty((0, 0), np.float32)


def _reach(found: Iterable[Neighbourhood]) -> float:
    """Cosine distance at which images of this gallery usually belong together: that of second neighbours."""
    usual = [1 - each.nearest[min(1, len(each.nearest) - 1)][1] for each in found if each.nearest]
    return float(np.clip(np.median(usual) if usual else 0.0, *_REACHES))


def complete_linkage(distances: np.ndarray, reach: float) -> list[int]:
    """Joins the two groups whose farthest members are nearest, until those lie beyond reach.

    Args:
        distances: float [n, n], symmetric.
        reach: the largest distance within a group.

    Returns:
        A number for each row, the same within a group.
    """
    between = distances.astype(np.float64)
    np.fill_diagonal(between, np.inf)
    numbers = np.arange(len(between))
    while len(between) > 1:
        kept, given_up = sorted(divmod(int(np.argmin(between)), len(between)))
        if between[kept, given_up] > reach:
            break
        farthest = np.maximum(between[kept], between[given_up])
        between[kept], between[:, kept] = farthest, farthest
        between[given_up], between[:, given_up] = np.inf, np.inf
        between[kept, kept] = np.inf
        numbers[numbers == given_up] = kept
    return [int(number) for number in numbers]
