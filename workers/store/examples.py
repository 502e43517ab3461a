"""A query of several vectors: what to find more of, and what not to find. Qdrant calls it recommendation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workers.messages import AVERAGE


@dataclass(frozen=True)
class Examples:
    """Vectors of a query, each float32 [d] of unit length.

    Args:
        like: what is looked for, at least one.
        unlike: what is not.
        strategy: "average" ranks by the mean of `like`, moved away from that of `unlike`; "best" by the one of `like`
            that is nearest, and puts last what is nearer to one of `unlike`.
    """

    like: Sequence[np.ndarray]
    unlike: Sequence[np.ndarray] = ()
    strategy: str = AVERAGE

    @property
    def average(self) -> np.ndarray:
        """The one vector that the strategy "average" ranks by: float32 [d] of unit length."""
        wanted = np.mean(self.like, axis=0)
        vector = 2 * wanted - np.mean(self.unlike, axis=0) if len(self.unlike) else wanted
        length = float(np.linalg.norm(vector))
        return np.asarray(vector / length if length > 1e-6 else self.like[0], np.float32)

    def similarity(self, vector: np.ndarray) -> float:
        """Cosine of a unit vector and the one of `like` that is nearest to it."""
        return float(np.max(np.stack(self.like) @ vector))
