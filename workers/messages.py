"""What crosses the queue and the API: frozen dataclasses, JSON in and out.

Every field is a plain JSON type, another message, or a tuple of messages, so that `to_json` and `from_json` need no
knowledge of single classes.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import msgspec


def plain(value: Any) -> str:
    """A checked name as plain text: an encoder's hook for what it does not know."""
    if isinstance(value, str):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON type")


@dataclass(frozen=True)
class Message:
    """Base of everything here."""

    def to_json(self) -> dict[str, Any]:
        """A dict of plain JSON types."""
        made: dict[str, Any] = msgspec.to_builtins(self, enc_hook=plain)
        return made

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_json`. Unknown keys are ignored, so that old and new processes understand each other.

        Raises:
            ValueError: something is missing or of another type.
        """
        return msgspec.convert(data, cls)


@dataclass(frozen=True)
class GalleryImage(Message):
    """An image of the gallery: what storage knows of it.

    `id` is the first 32 hex digits of the SHA-256 of its bytes. `path` is where it came from, as data to show, never to
    open. `name` is the last part of it. `is_in_place`: the original is not copied, it stays at `path`. `taken_at` is in
    seconds since 1970 by the camera's clock, as if that showed UTC; None when the photo does not say.

    `state` is ok; damaged: what is known of it cannot be read; changed or missing: it was to stay in place and did not.
    """

    id: str
    name: str
    path: str
    label: str | None
    width: int
    height: int
    format: str
    bytes: int
    added_at: float
    is_in_place: bool = False
    state: str = "ok"
    taken_at: float | None = None


@dataclass(frozen=True)
class Selection(Message):
    """Which images of the gallery: those that all of this is true of.

    `label` is the exact one, `folder` the exact folder of the path. `text` is words that the file's name or the label
    begin with, all of them. Moments are in seconds since 1970, from the first on and before the second; those of
    `taken` are by the camera's clock, as if that showed UTC.
    """

    label: str | None = None
    unlabelled: bool = False
    folder: str | None = None
    text: str | None = None
    added_from: float | None = None
    added_before: float | None = None
    taken_from: float | None = None
    taken_before: float | None = None


@dataclass(frozen=True)
class Page(Message):
    """Images, newest first. `next` leads to the following page, None on the last; `total` counts those of all pages."""

    images: tuple[GalleryImage, ...]
    next: str | None
    total: int


@dataclass(frozen=True)
class Proposal(Message):
    """Images without a label that belong together, and the label that their neighbours suggest, None for no idea.

    `share` is that of the neighbours' votes that the label has, in [0, 1].
    """

    label: str | None
    share: float
    images: tuple[GalleryImage, ...]


@dataclass(frozen=True)
class Proposals(Message):
    """Groups of images without a label, what teaches most first. `total` counts all such images."""

    groups: tuple[Proposal, ...]
    total: int


@dataclass(frozen=True)
class Outlier(Message):
    """An image whose label may be wrong.

    `similarity` is the mean cosine to the most similar images of its label; `like` the label that most of its
    neighbours have, None when it is merely far from the others.
    """

    image: GalleryImage
    similarity: float
    like: str | None


@dataclass(frozen=True)
class Outliers(Message):
    """What of a label's images looks out of place, the most doubtful first; `count` is how many images it has."""

    label: str
    count: int
    outliers: tuple[Outlier, ...]


@dataclass(frozen=True)
class TrashedImage(Message):
    """An image in the trash: what was known of it, and from when to when it can be restored, in seconds since 1970."""

    id: str
    name: str
    path: str
    label: str | None
    width: int
    height: int
    format: str
    bytes: int
    added_at: float
    deleted_at: float
    expires_at: float


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
    probabilities were fitted on, or why there are none.
    """

    model: str
    collection: str
    results: tuple[Result, ...]
    timings_ms: dict[str, float] = field(default_factory=dict)
    matches: int | None = None
    told: str = ""


@dataclass(frozen=True)
class Failure(Message):
    """A file that was left out, and why, in words fit for the person who sent it."""

    path: str
    reason: str


@dataclass(frozen=True)
class FolderCoverage(Message):
    """What was found in a folder of the machine `host` when it was last looked at, in seconds since 1970.

    On the disk are `indexed` + `failed` + `waiting` + `skipped` files. `same` of those indexed hold a photo that goes
    by another file's path. `failures` and `skips` name the first 1,000 of their kind. `is_complete` is False while the
    `job` runs, and after one that was cut short.
    """

    folder: str
    host: str
    at: float
    is_watched: bool = False
    job: str | None = None
    is_complete: bool = True
    indexed: int = 0
    same: int = 0
    failed: int = 0
    waiting: int = 0
    skipped: int = 0
    failures: tuple[Failure, ...] = ()
    skips: tuple[Failure, ...] = ()

    @property
    def on_disk(self) -> int:
        """Every file that was found."""
        return self.indexed + self.failed + self.waiting + self.skipped


@dataclass(frozen=True)
class Whereabouts(Message):
    """Where a photo is that somebody misses.

    `answer` is here, damaged, trash, unreadable, failed, skipped, alike or unknown; `told` says it in words, `next`
    what to do. `id` and `path` are of the image that the answer is about, `path` also of a file that was left out.
    """

    answer: str
    told: str
    next: str = ""
    id: str | None = None
    path: str | None = None


@dataclass(frozen=True)
class Finding(Message):
    """Something that `verify` names. `kind` is one of its counts, `key` the stored file or image that it is about."""

    kind: str
    key: str
    path: str
    reason: str


@dataclass(frozen=True)
class SavedQuery(Message):
    """A query that a person keeps; its id is its image's. `is_photo`: that is no image of the gallery."""

    id: str
    name: str
    at: float
    is_photo: bool = False


@dataclass(frozen=True)
class PreviewedHit(Message):
    """An answer of one of two models. `other_rank` is its rank with the other model, None where it is not shown.

    `change` is same, moved, gained (only the new model shows it) or lost (only the old one does). `is_right` is what a
    person said of it, or whether the labels are the same; None when neither is known.
    """

    id: str
    path: str
    label: str | None
    similarity: float
    rank: int
    other_rank: int | None
    change: str
    is_right: bool | None


@dataclass(frozen=True)
class PreviewedQuery(Message):
    """What the active model answers to a query (`before`), and what the one that is to be published does (`after`).

    `source` is saved, photo (saved, and no image of the gallery), answered (somebody said of it what is the same) or
    drawn.
    """

    id: str
    name: str
    source: str
    label: str | None
    before: tuple[PreviewedHit, ...]
    after: tuple[PreviewedHit, ...]
    right_before: int
    right_after: int

    def count(self, change: str) -> int:
        """How many answers changed in this way."""
        return sum(hit.change == change for hit in (self.before if change == "lost" else self.after))


@dataclass(frozen=True)
class VariedImage(Message):
    """An image's vector and what its views differ from it by, packed by workers.tasks.tuning. `tune` learns from it."""

    id: str
    vector: str
    differences: str


@dataclass(frozen=True)
class AlikePair(Message):
    """Two images that `tune` takes to show the same thing, and by what their vectors differ, packed as above."""

    one: str
    other: str
    difference: str


# What a job is at, in words, by its `detail["phase"]`. Trainings tell theirs in words already.
PHASES = {
    "vary": "counting the photos",
    "look": "embedding parts of some photos",
    "fit": "looking for pairs of photos, and fitting a head",
    "prepare": "preparing the collection",
    "load": "loading the model in every worker",
    "build": "building the collection",
    "check": "checking it",
    "preview": "ready, and waiting for you to look at the preview",
    "switch": "switching over",
    "settle": "waiting for the workers to follow",
    "finish": "clearing up",
}


@dataclass(frozen=True)
class JobStatus(Message):
    """How far a long piece of work is. `ended_at` is in seconds since 1970, None while it runs.

    `state` is running, done, failed or stopped. `done` counts every finished item, failed ones included, up to `total`.
    An item ends as one of added, unchanged, updated (its label changed), removed or failed. `failures` holds the first
    1,000; `failed` counts all of them.
    """

    job: str
    kind: str
    state: str
    total: int
    done: int
    added: int
    unchanged: int
    failed: int
    seconds: float
    updated: int = 0
    removed: int = 0
    failures: tuple[Failure, ...] = ()
    detail: dict[str, Any] = field(default_factory=dict)
    ended_at: float | None = None

    @property
    def is_finished(self) -> bool:
        return self.state != "running"

    @property
    def per_s(self) -> float | None:
        """Items a second so far; None before the first one."""
        return self.done / self.seconds if self.done and self.seconds else None

    @property
    def left_s(self) -> float | None:
        """Seconds until it ends, as far as can be told; None where nothing can."""
        if self.is_finished or self.detail.get("waits_for"):
            return None
        if (told := self.detail.get("seconds_left")) is not None:
            return float(told)
        rate = self.per_s
        return (self.total - self.done) / rate if rate and self.total > self.done else None

    @property
    def doing(self) -> str:
        """What it is at, in words; its state where it says nothing or has ended."""
        phase = self.detail.get("phase")
        return PHASES.get(phase, phase) if phase and not self.is_finished else self.state


@dataclass(frozen=True)
class Pair(Message):
    """Two images of one photo. `similarity` is the cosine of their vectors.

    `tier` and `score` are of ml.images.copies.Likeness.
    """

    id: str
    other_id: str
    path: str
    other_path: str
    similarity: float
    tier: str = "near-copy"
    score: float = 0.0


@dataclass(frozen=True)
class Copy(Message):
    """An image that is a copy of another one. `tier` and `score` as of a Pair."""

    image: GalleryImage
    tier: str
    score: float


@dataclass(frozen=True)
class CopyGroup(Message):
    """An image that is worth keeping, and copies of it. `tier` is that of the copy that is least like it."""

    best: GalleryImage
    copies: tuple[Copy, ...]
    tier: str


@dataclass(frozen=True)
class LabelCount(Message):
    """A label and how many images of the active collection carry it."""

    label: str
    count: int


@dataclass(frozen=True)
class WorkerStatus(Message):
    """What one worker says of itself, and the age of its last sign of life.

    `holds` names the collections that a change of the gallery reaches through it: the active one and those being built.
    `problem` says what it cannot work without and that is away, empty when nothing. `images` is what it counted last.
    """

    id: str
    host: str
    pid: int
    queues: tuple[str, ...]
    device: str
    precision: str
    why: str
    model: str
    collection: str
    images: int
    age_s: float
    started_at: float
    rss_mb: float
    holds: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class ServiceStatus(Message):
    """A program that a supervisor on this machine keeps running.

    `state` is starting, running, or ended: it is started again at `retry_at`, in seconds since 1970. `reason` says why
    it ended last, empty when it never did.
    """

    name: str
    state: str
    restarts: int = 0
    reason: str = ""
    retry_at: float | None = None


@dataclass(frozen=True)
class SystemStatus(Message):
    """The whole system in one object. `problems` says in words what is wrong and what to do; empty means healthy.

    `suggestions` says what would make searches better, in words.

    `model`, `collection` and `images` are None while no worker can be heard, `queues` is empty while the queue is away.
    """

    healthy: bool
    problems: tuple[str, ...]
    model: str | None
    collection: str | None
    images: int | None
    queues: dict[str, int]
    workers: tuple[WorkerStatus, ...]
    settings: dict[str, Any]
    suggestions: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainRequest(Message):
    """A training to perform: what `lookalike train` takes, with its defaults.

    `data` and `test` name a folder, a CSV, or the word gallery. `config` changes fields of the preset's
    ml.training.config.TrainConfig. `gpus` is None for what the machine has. `recipe` names one of
    ml.training.recipes: `data` is then the published data set, and the recipe stands for preset and test images.
    `strict` ends a training whose data there are notes on, before it begins. `track` is wandb, mlflow or empty.
    """

    kind: ClassVar[str] = "train"

    data: str
    test: str | None = None
    preset: str = "accurate"
    config: dict[str, Any] = field(default_factory=dict)
    workers: int = 1
    gpus: int | None = None
    resume: bool = False
    publish: bool = False
    recipe: str | None = None
    strict: bool = False
    track: str = ""


@dataclass(frozen=True)
class SweepRequest(Message):
    """A sweep to perform: what `lookalike sweep` takes, with its defaults.

    `grid` holds hyper-parameters as `name=value,value`, `space` names a TOML file of the same; none: the default space.
    `search` is grid, random, optuna, or None for what suits the space. `resume` names a sweep to go on with.
    """

    kind: ClassVar[str] = "sweep"

    data: tuple[str, ...] = ()
    test: str | None = None
    grid: tuple[str, ...] = ()
    space: str | None = None
    search: str | None = None
    scheduler: str = "asha"
    trials: int | None = None
    repeats: int = 1
    preset: str = "accurate"
    config: dict[str, Any] = field(default_factory=dict)
    workers: int = 1
    gpus: int | None = None
    resume: str | None = None
    refit: bool = False
    publish: bool = False
    track: str = ""


TRAINING_REQUESTS: dict[str, type[TrainRequest] | type[SweepRequest]] = {
    request.kind: request for request in (TrainRequest, SweepRequest)
}
