"""What it takes to undo a change of the gallery, kept in Redis for a while under the id of the job that made it.

lookalike:undo:<job>    JSON: {"deleted": [id, …], "labelled": {id: [label given, label before, by a person before]},
                        "apart": [id, …], "query": id}

Of a change that no job makes the id is its own, and begins with what was done: apart-…, query-….
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

KEPT_S = 24 * 3600


@dataclass(frozen=True)
class Change:
    """A change that can be undone.

    `labelled`: id -> label given, label before, whether a person had given that. `apart`: images that are no duplicates
    of each other. `query`: a saved query that was removed.
    """

    deleted: Sequence[str] = ()
    labelled: Mapping[str, tuple[str | None, str | None, bool]] = field(default_factory=dict)
    apart: Sequence[str] = ()
    query: str | None = None


class Undoable:
    """The changes that can still be undone."""

    def __init__(self, server: Any) -> None:
        self._redis = server

    def note(self, job: str, change: Change) -> None:
        self._redis.set(_key(job), json.dumps(asdict(change)), ex=KEPT_S)

    def note_alone(self, kind: str, change: Change) -> str:
        """Notes a change that no job makes; returns what `read` finds it by."""
        name = f"{kind}-{secrets.token_hex(6)}"
        self.note(name, change)
        return name

    def read(self, job: str) -> Change | None:
        """The change; None when it was undone, or is too long ago."""
        text = self._redis.get(_key(job))
        if text is None:
            return None
        record = json.loads(text)
        return Change(**record | {"labelled": {id: tuple(labels) for id, labels in record["labelled"].items()}})

    def forget(self, job: str) -> None:
        self._redis.delete(_key(job))


def _key(job: str) -> str:
    return f"lookalike:undo:{job}"
