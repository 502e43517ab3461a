"""What a worker holds to answer: the active model and its collection, the store, the gallery, the batcher.

`active` is polled in the background. A new model is loaded and has proved itself on its golden image before the first
search sees it; the one before stays loaded, so that a rollback is instant.
"""

import logging
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ml import cores
from ml.decoders import Decoders
from ml.errors import LookalikeError
from ml.model import embedder as embedders
from ml.model.embedder import Embedder
from ml.model.registry import Active, Building, Registry
from ml.names import CollectionName, ModelName
from ml.records import Damaged, DamageLog, Unlogged
from ml.storage import Hold, Storage, open_storage
from ml.tuning.calibration import Calibration
from workers.gallery import Gallery, limits
from workers.process.appearances import Appearances
from workers.process.batching import Batcher
from workers.process.honesty import calibration_of
from workers.process.neighbourhoods import Neighbourhoods
from workers.process.slow_searches import SlowSearches
from workers.settings import Settings
from workers.store import Store, StoreFailed, open_store

logger = logging.getLogger(__name__)

_POLL_S = 0.25
_GPU_STEP = 64


@dataclass(frozen=True)
class ServingModel:
    """A model and the collection that it built. Vectors of one are compared with the other only."""

    model: ModelName
    collection: CollectionName
    embedder: Embedder
    calibration: Calibration | None = None  # None: nothing is claimed of how likely hits are right
    told: str = ""  # what it was fitted on, or why there is none


class Serving:
    """Everything that tasks share in one worker process. Opened once, before the first task."""

    def __init__(
        self,
        settings: Settings,
        log: DamageLog | None = None,
        store: Store | None = None,
        hold: Hold | None = None,
    ) -> None:
        self.settings = settings
        self.log = log or Unlogged()
        self.limits = limits(settings)
        self.store: Store = store or open_store(settings, self.log)
        self.storage = open_storage(settings.storage_url)
        self.gallery = Gallery(self.storage, self.limits, self.log, hold)
        self.appearances = Appearances(self.gallery)
        self.registry = Registry(settings.models_url, self.log, hold)
        self.batcher = Batcher()
        self.neighbourhoods = Neighbourhoods(self.store, self.batcher.yield_to_searches)
        self.decoders = Decoders(settings.decode_memory_mb * 2**20)
        self.decoders.warm_up()
        # For the photos of searches that wait together: each waits for a child that decodes.
        self.query_decoders = ThreadPoolExecutor(4 * cores.available(), "decode-query")
        self.preparers = ThreadPoolExecutor(cores.available(), "prepare", initializer=_yield_to_searches)
        self.slow_searches = SlowSearches()
        self._embedders: dict[str, Embedder] = {}
        self._loading = threading.Lock()
        self.changed = threading.Event()  # set when what this worker serves is no longer what it last said
        self._active = self._first()
        self._building: tuple[ServingModel, ...] = ()
        self._retained: tuple[str, ...] = ()
        self._announced = ""
        self._unloadable: dict[str, str] = {}  # collection -> job of a publish whose model is damaged
        self.refresh()
        self._closed = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="active-model", daemon=True)
        self._poller.start()

    @property
    def decode_step(self) -> int:
        """Images that are decoded before they are embedded together: a GPU wants full batches."""
        return _GPU_STEP if self._active.embedder.device == "cuda" else 2 * cores.available()

    def active(self) -> ServingModel:
        """The model and collection that answer searches now. Hold on to it for the whole of one answer."""
        return self._active

    def targets(self) -> tuple[ServingModel, ...]:
        """Every collection that a change of the gallery must reach: the active one, and those being built."""
        return (self._active, *self._building)

    def retained(self) -> tuple[str, ...]:
        """Collections kept for a rollback: they lose what is deleted and follow labels, but get no new images."""
        return self._retained

    def live(self, model: str, collection: str) -> ServingModel:
        """Any registered model with a collection of it. Loads it when it is not."""
        with self._loading:
            if model not in self._embedders:
                folder = self.registry.fetch(model, self.settings.home / "cache" / "models")
                self._embedders[model] = embedders.load(
                    folder, device=self.settings.device, cache_dir=self.settings.compiled
                )
            embedder = self._embedders[model]
        self.store.ensure(collection, embedder.dim)
        calibration, told = calibration_of(self.registry, embedder.bundle, collection)
        return ServingModel(ModelName(model), CollectionName(collection), embedder, calibration, told)

    def refresh(self) -> None:
        """Looks at what is active, being built and retained now, and follows it."""
        # Loaded first, so that the switch finds the model here: no search waits for it.
        before = self.targets()
        building = tuple(live for entry in self.registry.building() if (live := self._buildable(entry)) is not None)
        named = self._named()
        if named is not None and (named.model, named.collection) != (self._active.model, self._active.collection):
            self._active = self.live(named.model, named.collection)
            logger.info("switched to model %s, collection %s", named.model, named.collection)
        self._building = tuple(live for live in building if live.collection != self._active.collection)
        self._retained = tuple(
            entry.collection for entry in self.registry.history() if entry.collection != self._active.collection
        )
        if self.targets() != before:
            self.changed.set()
        self._announce(self._active.collection)

    def _buildable(self, entry: Building) -> ServingModel | None:
        """What is being built; None when it cannot be loaded: that ends its publish, and keeps no search waiting."""
        if self._unloadable.get(entry.collection) == entry.job:
            return None
        try:
            return self.live(entry.model, entry.collection)
        except LookalikeError as error:
            if not error.passes:
                self._unloadable[entry.collection] = entry.job
            logger.warning("%s: model %s cannot be loaded: %s", entry.job, entry.model, error.message)
        except Exception:  # whatever a damaged model makes libraries do, searches go on
            self._unloadable[entry.collection] = entry.job
            logger.exception("%s: model %s cannot be loaded", entry.job, entry.model)
        return None

    def storages(self) -> tuple[Storage, ...]:
        """Where the gallery and the models are kept."""
        return (self.storage, open_storage(self.settings.models_url))

    def close(self) -> None:
        self._closed.set()
        self._poller.join()
        self.slow_searches.close()
        self.query_decoders.shutdown(cancel_futures=True)
        self.decoders.close()
        self.preparers.shutdown()
        self.batcher.close()
        self.store.close()

    def _announce(self, collection: str) -> None:
        """Tells outsiders once. That they may not hear of it keeps no search waiting."""
        if self._announced == collection:
            return
        self._announced = collection
        try:
            self.store.announce(collection)
        except StoreFailed as error:
            logger.warning("the name for outsiders does not follow: %s", error.message)

    def _named(self) -> Active | None:
        """What is active. Where that cannot be read, what this worker answers from is written in its place."""
        try:
            return self.registry.named()
        except Damaged as damaged:
            self.log.found(damaged)
            for mended in self.registry.repair(Active(self._active.model, self._active.collection, 0.0)):
                logger.warning("%s", mended)
            return self.registry.active()

    def _first(self) -> ServingModel:
        for mended in self.registry.repair():
            logger.warning("%s", mended)
        named = self.registry.active()
        if named is None:
            from ml.model.default import ensure_registered  # imports onnx: needed once in a system's life

            model = ensure_registered(self.registry, self.settings.home / "cache")
            named = self.registry.active() or self.registry.activate(model, f"gallery-{model}")
        return self.live(named.model, named.collection)

    def _hold_previous(self) -> None:
        """Loads what a rollback would switch to, so that it is instant."""
        previous = self.registry.previous()
        if previous is not None and previous.model not in self._embedders:
            self.live(previous.model, previous.collection)

    def _poll(self) -> None:
        while not self._closed.wait(_POLL_S):
            try:
                self.refresh()
                self._hold_previous()
            except Exception:  # storage may be away for a while: go on with the model we hold
                logger.exception("cannot follow the active model")


def _yield_to_searches() -> None:
    """Lowers this thread's priority, where the system knows priorities of threads."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
