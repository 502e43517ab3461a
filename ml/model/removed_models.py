"""Models that were removed from the registry, which can be brought back for a while.

<root>/<name>/removed.json   in place of the model's model.json: what that said, and when it was removed
"""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from ml import records
from ml.names import MODEL_JSON
from ml.records import Damaged, DamageLog, Moment
from ml.storage import Storage

if TYPE_CHECKING:
    from ml.model.bundle import Bundle

REMOVED_JSON = "removed.json"
_AT = "removed_at"


class RemovedModels:
    """Those of one registry.

    Args:
        storage: the registry's.
        parse: makes a bundle of a model's name and what its model.json says. It raises ValueError for what is none.
        log: told of damaged records.
    """

    def __init__(self, storage: Storage, parse: Callable[[str, Any], "Bundle"], log: DamageLog) -> None:
        self._storage = storage
        self._parse = parse
        self._log = log

    def all(self) -> dict[str, "Bundle"]:
        """name -> what is known of each model that can be brought back."""
        return {name: self._parse(name, facts) for name, (facts, _) in self._each()}

    def take(self, name: str) -> None:
        """Removes a model."""
        facts = records.loads(self._storage.get(f"{name}/{MODEL_JSON}"))
        self._put(f"{name}/{REMOVED_JSON}", facts | {_AT: time.time()})
        self._storage.delete(f"{name}/{MODEL_JSON}")

    def bring_back(self, name: str) -> None:
        """Raises FileNotFoundError when it was not removed, or is forgotten, and Damaged."""
        self._put(f"{name}/{MODEL_JSON}", self._read(name)[0])
        self._storage.delete(f"{name}/{REMOVED_JSON}")

    def forget(self, until: float) -> None:
        """Deletes for good what was removed before a moment, Unix time in seconds."""
        for name, (_, removed_at) in list(self._each()):
            if removed_at < until:
                # Last what says that it was removed: cut short before, this is done again.
                for key in sorted(self._storage.keys(name), key=lambda key: key.endswith(REMOVED_JSON)):
                    self._storage.delete(key)

    def _each(self) -> Iterator[tuple[str, tuple[dict[str, Any], float]]]:
        for key in self._storage.keys(""):
            if key.endswith(f"/{REMOVED_JSON}"):
                name = PurePath(key).parent.name
                try:
                    yield name, self._read(name)
                except Damaged as damaged:
                    self._log.found(damaged)
                except FileNotFoundError:  # somebody has just brought it back
                    continue

    def _read(self, name: str) -> tuple[dict[str, Any], float]:
        """What the model.json said, and when the model was removed."""

        def parse(record: Any) -> tuple[dict[str, Any], float]:
            facts = {key: fact for key, fact in records.typed(dict[str, Any], record).items() if key != _AT}
            self._parse(name, facts)
            return facts, records.typed(Moment, record.get(_AT))

        key = f"{name}/{REMOVED_JSON}"
        return records.read(self._storage, key, parse, name=f"models/{key}")

    def _put(self, key: str, facts: dict[str, Any]) -> None:
        self._storage.put(key, json.dumps(facts, indent=2).encode())


def is_of_removed(key: str, keys: list[str]) -> bool:
    """Whether a file belongs to a removed model, among all files of a registry."""
    return str(PurePath(key).parent / REMOVED_JSON) in keys
