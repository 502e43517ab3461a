"""Long work: how far it is, and what it found or left out."""

from dataclasses import dataclass, field
from typing import Any

from workers.messages.base import Message


@dataclass(frozen=True)
class Failure(Message):
    """A file that was left out, and why, in words fit for the person who sent it."""

    path: str
    reason: str


@dataclass(frozen=True)
class Finding(Message):
    """Something that `verify` names. `kind` is one of its counts, `key` the stored file or image that it is about."""

    kind: str
    key: str
    path: str
    reason: str


WAITING = "waiting for its turn"  # the phase of a training begins with it while another one is under way
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
    "graph": "making its graph, without which searches would be slower",
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
    def waits_for_a_look(self) -> bool:
        """Whether it has prepared a preview, and goes on when somebody has looked at it."""
        return not self.is_finished and self.detail.get("phase") == "preview" and "previewed" in self.detail

    @property
    def waits_for_its_turn(self) -> bool:
        """Whether it is a training, and another one is under way."""
        return not self.is_finished and str(self.detail.get("phase", "")).startswith(WAITING)

    @property
    def counted(self) -> tuple[int, int] | None:
        """How far the phase of a training is, of how much; None where it is not counted."""
        done, total = self.detail.get("counted") or (0, 0)
        return None if self.is_finished or total < 1 else (min(done, total), total)

    @property
    def doing(self) -> str:
        """What it is at, in words; its state where it says nothing or has ended."""
        phase = self.detail.get("phase")
        if self.is_finished or not phase:
            return self.state
        if phase == "preview" and not self.waits_for_a_look:
            return "asking both models"
        told: str = PHASES.get(phase, phase)
        return told if self.counted is None else f"{told}, {self.counted[0]:,} of {self.counted[1]:,}"
