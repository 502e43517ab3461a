"""Trainings that wait for their turn, and whether a training service lives that takes them.

    lookalike:trainings          ids of jobs that wait, the next one first
    lookalike:trainer            present while a service lives; expires

The job record says the rest: see workers.client.training.
"""

from typing import Any

_WAITING = "lookalike:trainings"
_TRAINER = "lookalike:trainer"
BEAT_S = 5.0
_EXPIRES_S = 20


def put(server: Any, job: str) -> None:
    """Adds a job behind those that wait."""
    server.rpush(_WAITING, job)


def take(server: Any, timeout_s: float) -> str | None:
    """The next job, waited for; None when none came."""
    popped = server.blpop([_WAITING], timeout=timeout_s)
    return None if popped is None else str(popped[1])


def take_now(server: Any) -> str | None:
    """The next job, if one waits."""
    job: str | None = server.lpop(_WAITING)
    return job


def withdraw(server: Any, job: str) -> None:
    """Takes a job out of those that wait."""
    server.lrem(_WAITING, 0, job)


def waiting(server: Any) -> list[str]:
    """Jobs that wait, the next one first."""
    jobs: list[str] = server.lrange(_WAITING, 0, -1)
    return jobs


def record_trainer(server: Any) -> None:
    """Says that a service lives."""
    server.set(_TRAINER, "1", ex=_EXPIRES_S)


def forget_trainer(server: Any) -> None:
    """Says that it does not."""
    server.delete(_TRAINER)


def lives(server: Any) -> bool:
    """Whether a service takes what is put here."""
    return bool(server.exists(_TRAINER))
