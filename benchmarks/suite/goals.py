"""What was aimed at, beside the figure that tells whether it is reached."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """One aim.

    Args:
        part: of the suite.
        figure: of that part.
        bound: at most this; at least this where `is_floor`.
    """

    what: str
    part: str
    figure: str
    bound: float
    unit: str = ""
    is_floor: bool = False

    @property
    def wanted(self) -> str:
        """In words."""
        return f"at {'least' if self.is_floor else 'most'} {self.bound:g} {self.unit}".strip()

    def is_reached(self, value: float) -> bool:
        """Whether a figure is good enough."""
        return value >= self.bound if self.is_floor else value <= self.bound


GOALS = (
    Goal(
        "search over HTTP, one user, p50 over its limit",
        "searches",
        "p50 over its limit",
        1.6,
        "times",
    ),
    Goal("32 users with photos", "searches", "32 users, searches/s", 190, "per s", is_floor=True),
    Goal("32 users, share of the limit", "searches", "32 users, of the limit", 0.64, "", is_floor=True),
    Goal("32 users, p99 over p50", "searches", "32 users, p99 over p50", 3, "times"),
    Goal("32 users, processor time of a search", "searches", "32 users, processor ms", 9.5, "ms"),
    Goal(
        "32 users, processor time over its limit", "searches", "32 users, processor time over its limit", 1.42, "times"
    ),
    Goal("indexing at 348 px, processor time over its limit", "indexing", "348 px, over its limit", 1.25, "times"),
    Goal(
        "indexing at 12 megapixels, processor time over its limit",
        "indexing",
        "12 megapixels, over its limit",
        1.1,
        "times",
    ),
    Goal(
        "evaluate_retrieval at 10,000 × 512 over AccuracyCalculator", "metrics", "over AccuracyCalculator", 1, "times"
    ),
    Goal("mAP@R alone over AccuracyCalculator", "metrics", "mAP@R alone, over AccuracyCalculator", 1, "times"),
    Goal("evaluate_retrieval at 60,000 × 512, memory", "metrics", "60,000 rows, GB", 4, "GB"),
    Goal("`lookalike search`, system running", "start", "lookalike search, s", 0.35, "s"),
    Goal("first start on a new home", "start", "first start, s", 6, "s"),
    Goal("graph of 98,000 × 1,280 in the background", "store", "graph of 98,000 x 1,280, s", 60, "s"),
    Goal("recall@10 by int8 codes with rescoring", "store", "recall@10 by codes", 0.99, "", is_floor=True),
    Goal(
        "search beside a graph build, p50 over quiet p50", "store", "p50 beside a graph build, over quiet", 2, "times"
    ),
)
