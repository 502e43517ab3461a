"""Published models: every version, which one is active, and what was active before.

<root>/<name>/…        a bundle; its model.json is written last, so that a half-written model is not there
<root>/active.json     {model, collection, since}: the model that answers, and the collection it built
<root>/history.json    earlier values of it, newest first
<root>/building.json   models whose collections are being built, with the jobs that build them
"""

import json
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any

from ml import child_process, files
from ml.errors import LookalikeError
from ml.model import embedder
from ml.model.bundle import MODEL_JSON, Bundle
from ml.storage import open_storage

DEFAULT_MODEL = "efficientnet-lite0-imagenet"
_STATE_FILES = ("active.json", "history.json", "building.json")


class UnknownModel(LookalikeError):
    """A name that the registry does not hold."""


class ModelInUse(LookalikeError):
    """A model cannot be removed: it answers searches, or may be asked to in a moment."""


@dataclass(frozen=True)
class Active:
    """The model that answers, the collection that it built, and since when (Unix time)."""

    model: str
    collection: str
    since: float


@dataclass(frozen=True)
class Building:
    """A collection that is being built, and the job that builds it."""

    model: str
    collection: str
    job: str


@dataclass(frozen=True)
class ModelRecord:
    """A registered model: what its model.json says."""

    name: str
    backbone: str
    dim: int
    metrics: dict[str, Any]
    lineage: dict[str, Any]
    threshold: float | None
    sha256: str


class Registry:
    """Models at a URL, say file:///home/storage/models. Safe to read from many processes; publishing is serialised by
    its callers."""

    def __init__(self, root_url: str) -> None:
        self._storage = open_storage(root_url)

    # Models

    def register(self, bundle_dir: Path, name: str | None = None, *, cache_dir: Path | None = None) -> str:
        """Keeps a copy of a bundle under a name of its own, once it gave its golden vector again.

        Args:
            bundle_dir: a folder that `save_bundle` wrote.
            name: what to call it; the bundle's own name if None. A name that is taken by another model gets a version
                behind it: `name-v2`.
            cache_dir: where the network that the check compiles is kept, as for `embedder.load`.

        Returns:
            The name; that of the earlier copy when this very model is registered already.

        Raises:
            BadBundle: the bundle is damaged, or its golden vector does not come out.
        """
        bundle = embedder.load(bundle_dir, cache_dir=cache_dir).bundle
        known = {record.name: record for record in self.models()}
        wanted = name or bundle.name
        version, chosen = 1, wanted
        while chosen in known:
            if known[chosen].sha256 == bundle.sha256:
                return chosen
            version += 1
            chosen = f"{wanted}-v{version}"
        for file_name in bundle.files:
            self._storage.put(f"{chosen}/{file_name}", (bundle.directory / file_name).read_bytes())
        facts = json.loads((bundle.directory / MODEL_JSON).read_text("utf-8")) | {"name": chosen}
        facts["lineage"] |= {"registered_at": time.time()}
        self._storage.put(f"{chosen}/{MODEL_JSON}", json.dumps(facts, indent=2).encode())
        return chosen

    def ensure_default(self, work_dir: Path) -> str:
        """Registers the untrained default model unless it is there.

        Args:
            work_dir: a folder on this machine; the network that the check compiles is left in its `compiled`.
        """
        if self._storage.exists(f"{DEFAULT_MODEL}/{MODEL_JSON}"):
            return DEFAULT_MODEL
        work_dir = work_dir.resolve()  # the child runs in another folder
        work_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=work_dir) as folder:
            bundle_dir = Path(folder) / DEFAULT_MODEL
            child_process.run("ml.model.default:save_default", str(bundle_dir), str(work_dir / "compiled"))
            return self.register(bundle_dir, cache_dir=work_dir / "compiled")

    def models(self) -> list[ModelRecord]:
        """Every registered model, oldest first."""
        found = [self.record(PurePath(key).parent.name) for key in self._storage.keys("") if key.endswith(MODEL_JSON)]
        return sorted(found, key=lambda record: record.lineage.get("registered_at", 0.0))

    def record(self, name: str) -> ModelRecord:
        """What is known of a model. Raises UnknownModel."""
        try:
            facts = json.loads(self._storage.get(f"{_checked(name)}/{MODEL_JSON}"))
        except FileNotFoundError:
            names = ", ".join(record.name for record in self.models()) or "none"
            raise UnknownModel(f"there is no model {name}", hint=f"registered are: {names}") from None
        bundle = Bundle._from_json(Path(name), facts)
        return ModelRecord(
            bundle.name, bundle.backbone, bundle.dim, bundle.metrics, bundle.lineage, bundle.threshold, bundle.sha256
        )

    def fetch(self, name: str, cache_dir: Path) -> Path:
        """A folder on this machine that holds the model: the stored one itself, or a copy that is kept in `cache_dir`.

        Raises:
            UnknownModel: no such model.
            BadBundle: what was stored is damaged.
        """
        record = self.record(name)
        local = self._storage.local_path(name)
        if local is not None:
            return local
        folder = cache_dir / f"{name}-{record.sha256[:16]}"
        if folder.is_dir():
            return folder
        with files.draft(folder, keep_existing=True) as draft:
            draft.mkdir()
            for key in self._storage.keys(name):
                (draft / PurePath(key).name).write_bytes(self._storage.get(key))
            Bundle.load(draft)
        return folder

    def remove(self, name: str) -> None:
        """Deletes a model that is not active, not the one to roll back to, and whose collection is not being built.

        Raises:
            UnknownModel: no such model.
            ModelInUse: it is one of these.
        """
        self.record(name)
        active, previous = self.active(), self.previous()
        if active and name == active.model:
            raise ModelInUse(f"the model {name} answers searches", hint="publish another one first")
        if previous and name == previous.model:
            raise ModelInUse(f"lookalike rollback returns to the model {name}", hint="publish another one first")
        if any(name == entry.model for entry in self.building()):
            raise ModelInUse(f"the collection of the model {name} is being built", hint="wait until it is published")
        self._storage.delete(f"{name}/{MODEL_JSON}")
        for key in list(self._storage.keys(name)):
            self._storage.delete(key)

    # Which one answers

    def active(self) -> Active | None:
        """The model that answers and its collection; None before the first start."""
        found = self._read("active.json")
        return None if found is None else Active(**found)

    def activate(self, model: str, collection: str) -> Active:
        """Switches, in one atomic write. The value before goes into the history first."""
        before = self.active()
        if before is not None and (before.model, before.collection) != (model, collection):
            kept = [entry for entry in self.history() if entry.collection not in (before.collection, collection)]
            self._write("history.json", [asdict(entry) for entry in [before, *kept]])
        active = Active(model, collection, time.time())
        self._write("active.json", asdict(active))
        return active

    def history(self) -> list[Active]:
        """What was active before, newest first; each collection once."""
        return [Active(**entry) for entry in self._read("history.json") or []]

    def previous(self) -> Active | None:
        """What a rollback would make active."""
        active = self.active()
        return next((entry for entry in self.history() if active and entry.collection != active.collection), None)

    def retain(self, keep: int) -> list[Active]:
        """Shortens the history so that `keep` collections remain, the active one included.

        Returns:
            What was forgotten; its collections may be dropped.
        """
        history = self.history()
        kept, forgotten = history[: max(0, keep - 1)], history[max(0, keep - 1) :]
        if forgotten:
            self._write("history.json", [asdict(entry) for entry in kept])
        return forgotten

    def building(self) -> list[Building]:
        """Collections that are being built: changes of the gallery must reach them too."""
        return [Building(**entry) for entry in self._read("building.json") or []]

    def set_building(self, entries: Iterable[Building]) -> None:
        self._write("building.json", [asdict(entry) for entry in entries])

    def _read(self, key: str) -> Any:
        try:
            return json.loads(self._storage.get(key))
        except FileNotFoundError:
            return None

    def _write(self, key: str, value: Any) -> None:
        self._storage.put(key, json.dumps(value, indent=2).encode())


def _checked(name: str) -> str:
    """Names come from outside and become part of a path."""
    if not name or name.startswith(".") or "/" in name or "\\" in name or name in _STATE_FILES:
        raise UnknownModel(f"{name!r} is no name of a model", hint="see: lookalike models")
    return name
