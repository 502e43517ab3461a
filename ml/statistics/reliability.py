"""How true probabilities are: those that were said of first hits, beside what turned out.

The reliability curve and its expected calibration error are those of Guo et al., "On calibration of modern neural
networks" (ICML 2017), in bins of equal width; the Brier score is the mean squared error. Intervals are those of
ml.statistics.uncertainty, over the classes of the queries. NumPy alone.
"""

from dataclasses import dataclass

import numpy as np

from ml.statistics.uncertainty import ByClass, Interval, bounds, drawn_classes, interval

BINS = 10


@dataclass(frozen=True, eq=False)
class Judged:
    """Queries whose first hit was judged.

    Args:
        said: float64 [n], probability that the first hit is right.
        is_right: bool [n], whether it is.
        labels: int64 [n], of the queries.
        same_from: probability from which on a hit is said to be the same.
    """

    said: np.ndarray
    is_right: np.ndarray
    labels: np.ndarray
    same_from: float

    def __len__(self) -> int:
        return len(self.said)

    @property
    def by_class(self) -> dict[str, ByClass]:
        """Precision and recall of the verdict "same", and the Brier score. The first may be of no query at all."""
        is_same = self.said >= self.same_from
        values = {
            "precision": (self.is_right, is_same),
            "recall": (is_same, self.is_right),
            "brier": (np.square(self.said - self.is_right), np.ones(len(self), bool)),
        }
        return {name: ByClass.of(value, self.labels, counted) for name, (value, counted) in values.items()}

    def figures(self) -> dict[str, float]:
        """precision, recall, brier and ece. A precision or recall of no query is 0."""
        found = {name: each.mean if each.counts.any() else 0.0 for name, each in self.by_class.items()}
        return found | {"ece": float(np.abs(self._gaps.sum(0)).sum() / len(self))}

    def intervals(self) -> dict[str, Interval]:
        """Of `figures`, over classes; those that have none are left out. Chance alone makes gaps: that of the ece lies
        higher than the figure where classes are few."""
        found = {name: interval(each) for name, each in self.by_class.items()} | {"ece": self._interval_of_error()}
        return {name: each for name, each in found.items() if each is not None}

    def curve(self) -> dict[str, list[float]]:
        """Of each bin that is not empty: mean of what was said, share that was right, its interval, and how many.

        Returns:
            said, right, low, high and count, each with a number for each bin. Where all of a bin are of one class, low
            and high are 0 and 1: nothing is known of others.
        """
        found: dict[str, list[float]] = {name: [] for name in ("said", "right", "low", "high", "count")}
        for number in range(BINS):
            own = self._bins == number
            if not own.any():
                continue
            low, high = interval(ByClass.of(self.is_right, self.labels, own)) or (0.0, 1.0)
            of_bin = (self.said[own].mean(), self.is_right[own].mean(), low, high, own.sum())
            for column, value in zip(found.values(), of_bin, strict=True):
                column.append(float(value))
        return found

    @property
    def _bins(self) -> np.ndarray:
        return np.minimum((self.said * BINS).astype(np.int64), BINS - 1)

    @property
    def _gaps(self) -> np.ndarray:
        """Sum of what was said less what was right, by class and bin: float64 [classes, BINS]."""
        classes, number = np.unique(self.labels, return_inverse=True)
        place = number * BINS + self._bins
        return np.bincount(place, self.said - self.is_right, len(classes) * BINS).reshape(-1, BINS)

    def _interval_of_error(self) -> Interval | None:
        gaps, counts = self._gaps, np.unique(self.labels, return_counts=True)[1]
        if len(counts) < 2:
            return None
        drawn = [np.abs(weights @ gaps).sum(1) / (weights @ counts) for weights in drawn_classes(len(counts))]
        return bounds(np.concatenate(drawn))
