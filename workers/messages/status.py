"""How workers, services and the whole system are."""

from dataclasses import dataclass
from typing import Any

from workers.messages.base import Message


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
