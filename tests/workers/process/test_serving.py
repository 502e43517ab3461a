"""A worker starts and follows whatever state the registry is in: only the active model can stop it."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from ml.errors import BadBundle
from ml.model.registry import Building, ModelRecord, Registry
from tests.workers.tasks.test_reconcile import Brightness
from workers import settings as settings_of
from workers.process import serving
from workers.process.serving import Serving
from workers.queue.jobs import Jobs
from workers.tasks.publish import advance


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """One with an active model. Models are loaded in no time, but for those whose name says what they do then."""

    def load(folder: Path, **_: Any) -> Brightness:
        if "damaged" in folder.name:
            raise BadBundle("model.safetensors is not what was saved")
        if "crash" in folder.name:
            raise RuntimeError("Check 'shape' failed at src/core/shape.cpp:42")
        return Brightness()

    def record(self: Registry, name: str) -> ModelRecord:
        return ModelRecord(name, "none", 2, {}, {}, None, "")

    monkeypatch.setattr(Registry, "record", record)
    monkeypatch.setattr(serving.embedders, "load", load)
    registry = Registry(f"file://{tmp_path}/storage/models")
    registry.activate("good", "gallery-good")
    return registry


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    started: list[Serving] = []

    def start() -> Serving:
        started.append(Serving(settings_of.load({"LOOKALIKE_HOME": str(tmp_path)})))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.mark.parametrize(
    "model, reason",
    [
        ("damaged", "model.safetensors is not what was saved"),
        ("crash", "RuntimeError: Check 'shape' failed at src/core/shape.cpp:42"),
    ],
)
@pytest.mark.parametrize("phase", ["prepare", "load"])
def test_a_building_model_that_cannot_be_loaded_ends_its_publish_and_no_worker(
    registry: Registry, start: Any, queue: redis.Redis, model: str, reason: str, phase: str
) -> None:
    jobs, collection = Jobs(queue), f"gallery-{model}-1"
    job = jobs.create("publish", {"model": model, "collection": collection}, externally_driven=True)
    jobs.describe(job, {"model": model, "collection": collection, "phase": phase})
    registry.begin_building(Building(model, collection, job))
    worker = start()
    assert (worker.active().model, [each.model for each in worker.targets()]) == ("good", ["good"])
    worker.refresh()
    advance(worker, jobs, [SimpleNamespace(holds=("gallery-good",))], job)  # type: ignore[list-item]
    status = jobs.status(job)
    assert (status.state, status.detail["reason"]) == ("failed", reason)
    assert registry.building() == []
    assert worker.store.collections() == ["gallery-good"]


def test_an_active_model_that_is_damaged_stops_the_start_with_its_reason(registry: Registry, start: Any) -> None:
    registry.activate("damaged", "gallery-damaged")
    with pytest.raises(BadBundle, match="is not what was saved"):
        start()
