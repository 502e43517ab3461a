"""Published models: every version, which one is active, and what was active before.

<root>/<name>/…        a bundle; its model.json is written last, so that a half-written model is not there
<root>/active.json     {model, collection, since}: the model that answers, and the collection it built
<root>/history.json    its value once more, and earlier ones, newest first
<root>/building.json   models whose collections are being built, with the jobs that build them

All are read through ml.records. What is damaged or lost is answered from the others, told to the log, and written anew
by `repair`; a model whose model.json is damaged is left out of lists.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from ml import files, records
from ml.errors import LookalikeError, UnknownModel
from ml.model.removed_models import RemovedModels
from ml.names import MODEL_JSON, BadName, CollectionName, JobName, ModelName
from ml.records import Damaged, DamageLog, Moment, T, Unlogged
from ml.storage import Hold, lock_between, open_storage

if TYPE_CHECKING:
    from ml.model.bundle import Bundle

DEFAULT_MODEL = "efficientnet-lite0-imagenet"


class ModelInUse(LookalikeError):
    """A model cannot be removed: it answers searches, or may be asked to in a moment."""


@dataclass(frozen=True)
class Active:
    """The model that answers, the collection that it built, and since when (Unix time)."""

    model: ModelName
    collection: CollectionName
    since: Moment


@dataclass(frozen=True)
class Building:
    """A collection that is being built, and the job that builds it."""

    model: ModelName
    collection: CollectionName
    job: JobName


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

    def __init__(self, root_url: str, log: DamageLog | None = None, hold: Hold | None = None) -> None:
        self._storage = open_storage(root_url)
        self._lock = lock_between(self._storage, hold)
        self._log = log or Unlogged()
        self._removed = RemovedModels(self._storage, _bundle, self._log)

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
            BadName: the name is none that a model can have.
        """
        from ml.model import embedder  # whoever only looks models up starts sooner without it

        bundle = embedder.load(bundle_dir, cache_dir=cache_dir).bundle
        registered = {record.name: record for record in self.models()}
        base_name = name or bundle.name
        removed = self._removed.all()
        version, chosen = 1, ModelName(base_name)
        while chosen in registered or chosen in removed:
            if chosen in registered and registered[chosen].sha256 == bundle.sha256:
                return chosen
            if chosen in removed and removed[chosen].sha256 == bundle.sha256:
                self.restore(chosen)
                return chosen
            version += 1
            chosen = ModelName(f"{base_name}-v{version}")
        for file_name in bundle.files:
            content = files.read_regular(bundle.directory / file_name, follow=False)
            self._storage.put(f"{chosen}/{file_name}", content)
        facts = records.loads(files.read_regular(bundle.directory / MODEL_JSON, follow=False)) | {"name": chosen}
        facts["lineage"] |= {"registered_at": time.time()}
        self._storage.put(f"{chosen}/{MODEL_JSON}", json.dumps(facts, indent=2).encode())
        self._log.mended(_shown(f"{chosen}/{MODEL_JSON}"))
        return chosen

    def models(self) -> list[ModelRecord]:
        """Every registered model that can be read, oldest first."""
        found = []
        for key in self._storage.keys(""):
            if key.endswith(f"/{MODEL_JSON}"):
                try:
                    found.append(self.record(PurePath(key).parent.name))
                except Damaged as damaged:
                    self._log.found(damaged)
                except UnknownModel as unknown:  # a folder of somebody else's
                    self._log.found(Damaged(unknown.message, key=_shown(key)))
        return sorted(found, key=lambda record: record.lineage.get("registered_at", 0.0))

    def record(self, name: str) -> ModelRecord:
        """What is known of a model. Raises UnknownModel and Damaged."""
        key = f"{_checked(name)}/{MODEL_JSON}"
        try:
            bundle = records.read(self._storage, key, lambda facts: _bundle(name, facts), name=_shown(key))
        except FileNotFoundError:
            names = ", ".join(record.name for record in self.models())
            hint = f"registered are: {names}" if names else "none is registered: lookalike train DATA makes one"
            raise UnknownModel(f"there is no model {name}", hint=hint) from None
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
        from ml.model.upgrade import load_bundle

        with files.draft(folder, keep_existing=True) as draft:
            draft.mkdir()
            for key in self._storage.keys(name):
                (draft / PurePath(key).name).write_bytes(self._storage.get(key))
            load_bundle(draft)
        return folder

    def remove(self, name: str) -> None:
        """Removes a model that is not active, not the one to roll back to, and whose collection is not being built.

        It can be restored until `forget_removed`.

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
        self._removed.take(name)

    def restore(self, name: str) -> None:
        """Brings a model back that was removed.

        Raises:
            UnknownModel: none of this name was removed lately.
            Damaged: what was known of it is.
        """
        try:
            self._removed.bring_back(_checked(name))
        except FileNotFoundError:
            names = ", ".join(self._removed.all())
            hint = f"removed were: {names}" if names else "none was removed lately"
            raise UnknownModel(f"there is no removed model {name}", hint=hint) from None

    def forget_removed(self, until: float) -> None:
        """Deletes for good the models that were removed before a moment, Unix time in seconds."""
        self._removed.forget(until)

    # Which one answers

    def active(self) -> Active | None:
        """The model that answers and its collection; None before the first start."""
        try:
            named = self.named()
        except Damaged as damaged:
            self._log.found(damaged)
            named = None
        return named or next(iter(self._entries()), None)

    def named(self) -> Active | None:
        """What active.json says, and nothing else; None when there is none. Raises Damaged."""
        return self._read("active.json", lambda entry: records.typed(Active, entry))

    def activate(self, model: str, collection: str) -> Active:
        """Switches, in one atomic write. The value before goes into the history first, the new one afterwards."""
        before = self.active()
        earlier = [entry for entry in self._entries() if entry.collection != collection]
        if before is not None and before.collection != collection:
            earlier = [before, *[entry for entry in earlier if entry.collection != before.collection]]
            self._write("history.json", [asdict(entry) for entry in earlier])
        active = Active(ModelName(model), CollectionName(collection), time.time())
        self._write("active.json", asdict(active))
        self._write("history.json", [asdict(entry) for entry in [active, *earlier]])
        return active

    def history(self) -> list[Active]:
        """What was active before, newest first; each collection once."""
        active = self.active()
        return [entry for entry in self._entries() if active is None or entry.collection != active.collection]

    def previous(self) -> Active | None:
        """What a rollback would make active."""
        return next(iter(self.history()), None)

    def retain(self, keep: int) -> list[Active]:
        """Shortens the history so that `keep` collections remain, the active one included.

        Returns:
            What was forgotten; its collections may be dropped.
        """
        active, history = self.active(), self.history()
        kept, forgotten = history[: max(0, keep - 1)], history[max(0, keep - 1) :]
        if forgotten:
            self._write("history.json", [asdict(entry) for entry in [active, *kept] if entry])
        return forgotten

    def building(self) -> list[Building]:
        """Collections that are being built: changes of the gallery must reach them too."""
        return self._list("building.json", Building)

    def begin_building(self, entry: Building) -> None:
        """Notes one, in place of what the same job has begun before."""
        self._change_building(lambda entries: [*(each for each in entries if each.job != entry.job), entry])

    def end_building(self, job: str) -> list[Building]:
        """Forgets what a job was building. Returns what that was."""
        before = self._change_building(lambda entries: [entry for entry in entries if entry.job != job])
        return [entry for entry in before if entry.job == job]

    def _change_building(self, change: Callable[[list[Building]], list[Building]]) -> list[Building]:
        """Returns what was being built before the change."""
        with self._lock("building.json"):
            before = self.building()
            self._write("building.json", [asdict(entry) for entry in change(before)])
        return before

    def calibration(self, collection: str) -> dict[str, Any] | None:
        """What was noted of how true a collection's answers are; None where nothing was. Raises Damaged."""
        return self._read(f"calibrations/{CollectionName(collection)}.json", dict)

    def set_calibration(self, collection: str, facts: dict[str, Any]) -> None:
        """Notes it, as plain JSON."""
        self._write(f"calibrations/{CollectionName(collection)}.json", facts)

    def forget_calibration(self, collection: str) -> None:
        """Deletes it; what is not there is no error."""
        self._storage.delete(f"calibrations/{CollectionName(collection)}.json")

    def damaged(self) -> list[Damaged]:
        """What of all this cannot be read."""
        found = []
        readers: dict[str, Callable[[str], object]] = {
            "active.json": lambda key: self.named(),
            "history.json": lambda key: self._read(key, lambda entries: records.all_typed(Active, entries)),
            "building.json": lambda key: self._read(key, lambda entries: records.all_typed(Building, entries)),
        }
        models = [key for key in self._storage.keys("") if key.endswith(f"/{MODEL_JSON}")]
        readers |= dict.fromkeys(models, lambda key: self.record(PurePath(key).parent.name))
        for key, read in readers.items():
            try:
                read(key)
            except Damaged as damaged:
                found.append(damaged)
            except UnknownModel as unknown:
                found.append(Damaged(unknown.message, key=_shown(key)))
        return found

    def repair(self, serving: Active | None = None) -> list[str]:
        """Writes anew what is damaged or lost of the state: from the rest, or as `serving`, what a worker answers from.

        A collection whose building is no longer known is built by the next publish.

        Returns:
            What was mended, in sentences.
        """
        damaged = {damaged.key: damaged.message for damaged in self.damaged()}
        active = self.active() if serving is None else serving
        mended = []
        if reason := damaged.get(_shown("building.json")):
            self._write("building.json", [])
            mended.append(f"{reason}; it names nothing now")
        reasons = [damaged[key] for key in map(_shown, ("active.json", "history.json")) if key in damaged]
        if active is not None and (reasons or not self.named()):
            self.activate(active.model, active.collection)
            reason = " and ".join(reasons) or f"{_shown('active.json')} was lost"
            mended.append(f"{reason}; restored: model {active.model}, collection {active.collection}")
        return mended

    def _entries(self) -> list[Active]:
        """The active value and those before it, as far as they were written."""
        return self._list("history.json", Active)

    def _list(self, key: str, kind: type[T]) -> list[T]:
        try:
            return (
                self._read(
                    key, lambda entries: [records.typed(kind, each) for each in records.typed(list[Any], entries)]
                )
                or []
            )
        except Damaged as damaged:
            self._log.found(damaged)
            return []

    def _read(self, key: str, parse: Callable[[Any], T]) -> T | None:
        try:
            return records.read(self._storage, key, parse, name=_shown(key))
        except FileNotFoundError:
            return None

    def _write(self, key: str, value: Any) -> None:
        self._storage.put(key, json.dumps(value, indent=2).encode())
        self._log.mended(_shown(key))


def _bundle(name: str, facts: Any) -> "Bundle":
    from ml.model.bundle import Bundle  # imports NumPy and Pillow: a command that reads no model starts sooner without

    bundle = Bundle.from_json(Path(name), facts)
    if bundle.name != name:
        raise ValueError(f"it is that of model {bundle.name}")
    return bundle


def _shown(key: str) -> str:
    """A file as people know it, and the log: the registry is a folder of the storage."""
    return f"models/{key}"


def _checked(name: str) -> ModelName:
    """Names come from outside and become part of a path."""
    try:
        return ModelName(name)
    except BadName as error:
        raise UnknownModel(error.message, hint="see: lookalike models") from None
