"""How far a figure can be trusted: percentile bootstrap over classes, paired where two models are compared.

Photos of one class are alike, so that they are no independent observations: whole classes are drawn with replacement
(cluster bootstrap, Field & Welsh, "Bootstrapping clustered data", JRSS B 2007). The interval is that of percentiles
(Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13). It answers how much the figure would vary
with other classes of the same kind; it does not know of other seeds of training. Two models that are measured on the
same photos are compared by their difference in each draw: much of what makes a draw hard is hard for both.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
_DRAWS = 2000
_DRAWN_AT_ONCE = 2**22  # weights held at a time, 32 MB

Interval = tuple[float, float]


@dataclass(frozen=True)
class ByClass:
    """A figure that is a mean over queries, as sum and number of the queries of each class, both float64 [classes].

    Args:
        sums: of the queries' values.
        counts: of queries.
    """

    sums: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, labels: np.ndarray, is_counted: np.ndarray) -> "ByClass":
        """From the value of each query.

        Args:
            values: float [n].
            labels: int64 [n].
            is_counted: bool [n]; the others are left out.
        """
        number = np.unique(labels, return_inverse=True)[1]
        weight = is_counted.astype(np.float64)
        return cls(np.bincount(number, values * weight), np.bincount(number, weight))

    @property
    def mean(self) -> float:
        """The figure: over queries, not over classes."""
        return float(self.sums.sum() / self.counts.sum())


def interval(figure: ByClass, *, seed: int = 0) -> Interval | None:
    """Where the figure lies in 95 of 100 draws of as many classes; None with fewer than two classes."""
    drawn = _drawn([figure], seed)
    return None if drawn is None else bounds(drawn[0])


def difference(first: ByClass, second: ByClass, *, seed: int = 0) -> tuple[float, Interval | None]:
    """First minus second, and its interval over draws that are the same for both.

    Raises:
        ValueError: they are not of the same queries.
    """
    if not np.array_equal(first.counts, second.counts):
        raise ValueError("the two figures are of different photos")
    drawn = _drawn([first, second], seed)
    return first.mean - second.mean, None if drawn is None else bounds(drawn[0] - drawn[1])


def is_beyond_chance(first: ByClass, second: ByClass) -> bool:
    """Whether the interval of a difference does not hold zero."""
    found = difference(first, second)[1]
    return found is not None and (found[0] > 0 or found[1] < 0)


def intervals(figures: Mapping[str, ByClass]) -> dict[str, list[float]]:
    """The interval of each figure, as plain JSON; those that have none are left out."""
    found = {name: interval(figure) for name, figure in figures.items()}
    return {name: list(ends) for name, ends in found.items() if ends is not None}


def drawn_classes(classes: int, *, seed: int = 0) -> Iterator[np.ndarray]:
    """How often each class is drawn: as many draws as there are classes, all equally likely.

    Yields:
        float64 [draws, classes], `_DRAWS` rows in all.
    """
    random = np.random.default_rng(seed)
    at_once = max(1, _DRAWN_AT_ONCE // classes)
    for start in range(0, _DRAWS, at_once):
        draws = min(at_once, _DRAWS - start)
        yield random.multinomial(classes, np.full(classes, 1 / classes), size=draws).astype(np.float64)


def bounds(values: np.ndarray) -> Interval:
    """The interval of a figure, from its value in every draw: float [draws]."""
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


def _drawn(figures: Sequence[ByClass], seed: int) -> list[np.ndarray] | None:
    """Each figure in every draw of classes, float64 [draws]."""
    used = np.flatnonzero(figures[0].counts)
    if len(used) < 2:
        return None
    lots: list[list[np.ndarray]] = [[] for _ in figures]
    for weights in drawn_classes(len(used), seed=seed):
        for lot, figure in zip(lots, figures, strict=True):
            lot.append((weights @ figure.sums[used]) / (weights @ figure.counts[used]))
    return [np.concatenate(lot) for lot in lots]
