"""What a search answers."""

from dataclasses import dataclass, field

from workers.messages.base import Message
from workers.messages.images import Skipped


@dataclass(frozen=True)
class Result(Message):
    """One answer of a search. `similarity` is the cosine in [-1, 1], `distance` the L2 distance of unit vectors.

    `probability`: that it shows the same thing as the query; `verdict`: same, similar or unlikely. None where nothing
    is claimed: the answer's `told` says why.
    """

    rank: int
    id: str
    path: str
    label: str | None
    similarity: float
    distance: float
    probability: float | None = None
    verdict: str | None = None


AVERAGE, BEST = "average", "best"
STRATEGIES = (AVERAGE, BEST)  # how several examples count together: see workers.store.examples


@dataclass(frozen=True)
class SearchResult(Message):
    """The ranked answers of one search, and which model and collection gave them.

    `timings_ms` tells where the time went: wait, decode, embed, search. `matches` is how many results are the same
    thing by their verdict: with 0 nothing in the gallery matches; None: nothing is claimed. `told` says what
    probabilities were fitted on, or why there are none. `skipped` are images of the query that are not in the gallery
    any more: the others were searched with.
    """

    model: str
    collection: str
    results: tuple[Result, ...]
    timings_ms: dict[str, float] = field(default_factory=dict)
    matches: int | None = None
    told: str = ""
    skipped: tuple[Skipped, ...] = ()
