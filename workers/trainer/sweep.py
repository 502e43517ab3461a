"""One sweep from a request to a registered model: plan, read, try, report, refit, register."""

import dataclasses
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml.data.datasets import Dataset
from ml.data.holdout import hold_out
from ml.errors import LookalikeError
from ml.evaluation.evaluate import evaluate
from ml.model.bundle import Bundle
from ml.model.verdict import held_out_classes, is_no_better
from ml.names import RunName
from ml.sweeps import plan as plans
from ml.sweeps import report as report_page
from ml.sweeps import search_space
from ml.sweeps.plan import SweepPlan
from ml.sweeps.record import Configuration, Record
from ml.sweeps.search_space import BadSearchSpace, Choice
from ml.training import tracking
from ml.training import train as training
from ml.training.config import TrainConfig
from workers.messages import SweepRequest
from workers.settings import Settings, expanded
from workers.trainer import data
from workers.trainer.report import Report
from workers.trainer.train import check_gpus, is_active, register, requested_config

if TYPE_CHECKING:
    from ml.sweeps.run import SweepResult


def sweep(request: SweepRequest, settings: Settings, report: Report) -> dict[str, Any]:
    """Tries many configurations, and registers the best model.

    Returns:
        What `lookalike sweep --json` prints: `best` with `map@r` measured anew, the mean that it was chosen by and
        what was `held_out` for both (classes, images, or the table's val rows),
        `trials`, `test` where test images were given, `model`, whether it `is_worse` than none on how many
        `held_out_classes` and `is_active` already, `report`, `name` and `seconds`.

    Raises:
        LookalikeError: the request, the data or every trial is at fault; the message says how.
        KeyboardInterrupt: it was interrupted. Finished trials are kept, and `resume` goes on after them.
    """
    began = time.monotonic()
    plan, directory, sources = _planned(request, settings)
    check_gpus(plan.gpus, settings)
    datasets = _apart([data.read(source, settings, on_progress=report.progress) for source in sources])
    test = None
    if request.test is not None:
        test = data.read_test(request.test, request.test, settings, on_progress=report.progress)
    plans.check(plan, datasets)
    from ml.sweeps import run  # Ray takes seconds to import: mistakes are told without it

    held_out = [hold_out(each, plan.base.holdout, split=plan.base.split, seed=plan.base.seed) for each in datasets]
    record = (
        Record.load(directory) if directory.exists() else Record.new(directory, plan.to_json() | {"sources": sources})
    )
    _check_same_data(record, datasets)
    report.say(f"sweep {directory.name}: {plan.search} search, in {directory}")
    record.plan["held_out"] = held_out[0].split
    if why := next((held.why for held in held_out if held.split == "images"), None):
        report.say(f"settings are judged by held-out photos, not classes: {why}")
    report.trials(record, plan)
    try:
        result = run.sweep(plan, datasets, record, on_change=lambda changed: report.trials(changed, plan))
    except KeyboardInterrupt:
        report.say(f"finished trials are kept: lookalike sweep --resume {directory.name}")
        raise
    finally:
        page = _write_page(record, report)
    facts = _registered(request, settings, report, plan, result, datasets[0], test)
    if test is not None:
        record.plan["test"] = {"name": test.name, "map@r": facts["test"]["map@r"]}
        record.save()
        _write_page(record, report)
    return facts | {
        "report": str(page),
        "name": directory.name,
        "seconds": round(time.monotonic() - began, 1),
    }


def _planned(request: SweepRequest, settings: Settings) -> tuple[SweepPlan, Path, list[str]]:
    """What to do, in which folder and on what data: a new sweep, or one to go on with. Writes nothing."""
    folder = settings.home / "sweeps"
    if request.resume is not None:
        record = Record.load(folder / RunName(request.resume))
        return SweepPlan.from_json(record.plan), record.directory, list(request.data or record.plan["sources"])
    if not request.data:
        raise LookalikeError("a sweep needs data", hint="name a folder, a CSV or the word gallery")
    tracking.check(request.track)
    plan = _new_plan(request)
    first = Path(request.data[0]).stem.lower()
    stem = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in first).strip("-")[:30]
    name = f"{stem or 'sweep'}-{time.strftime('%Y%m%d-%H%M%S')}"
    sources = [source if source == data.GALLERY else str(expanded(source).resolve()) for source in request.data]
    if (folder / name).exists():
        raise LookalikeError(f"a sweep {name} has just been started", hint="start this one in a second")
    return plan, folder / name, sources


def _new_plan(request: SweepRequest) -> SweepPlan:
    space = dict(search_space.parse(request.grid, TrainConfig))
    if request.space is not None:
        for name, dimension in search_space.read(Path(request.space), TrainConfig).items():
            if name in space:
                raise BadSearchSpace(f"{name} stands in --grid and in {request.space}", hint="say it once")
            space[name] = dimension
    if twice := sorted(space.keys() & request.config.keys()):
        raise BadSearchSpace(f"{twice[0]} is set, and to be searched", hint="say one of the two")
    space = space or {name: each for name, each in plans.DEFAULT_SPACE.items() if name not in request.config}
    is_listed = all(isinstance(dimension, Choice) for dimension in space.values())
    search = request.search or ("grid" if is_listed else "optuna")
    combinations = math.prod(len(dimension.values) for dimension in space.values() if isinstance(dimension, Choice))
    if search == "grid":
        list(search_space.grid(space))  # says what is wrong before anything is written
    # Of the best model, `lookalike tune` does the same once.
    changes = {"holdout": plans.DEFAULT_HOLDOUT, "tune": False, **request.config}
    if request.preset == "accurate":
        changes = {"epochs": plans.DEFAULT_EPOCHS, **changes}
    return SweepPlan(
        space,
        requested_config(request.preset, changes),
        search=search,
        scheduler=request.scheduler,
        trials=combinations if search == "grid" else request.trials or plans.DEFAULT_TRIALS,
        repeats=request.repeats,
        workers=request.workers,
        gpus=request.gpus,
        track=request.track,
    )


def _apart(datasets: list[Dataset]) -> list[Dataset]:
    """With names that differ: `a/train` and `b/train` are both called train."""
    names = [dataset.name for dataset in datasets]
    return [
        dataclasses.replace(dataset, name=f"{dataset.name}-{number}") if names.count(dataset.name) > 1 else dataset
        for number, dataset in enumerate(datasets, 1)
    ]


def _check_same_data(record: Record, datasets: list[Dataset]) -> None:
    """Remembers which data a sweep is on, and refuses to go on with other data."""
    facts = [{"name": each.name, "fingerprint": each.fingerprint, "images": len(each)} for each in datasets]
    before = record.plan.setdefault("data", facts)
    if [each["fingerprint"] for each in before] != [each["fingerprint"] for each in facts]:
        raise LookalikeError(
            f"the photos have changed since sweep {record.directory.name} began", hint="start a new sweep"
        )
    record.save()


def _write_page(record: Record, report: Report) -> Path:
    """Draws the report of a sweep; of an interrupted one too."""
    file = record.directory / "report.html"
    if record.trials:
        is_failing = sys.exception() is not None
        try:
            report_page.write(record, file)
        except LookalikeError as error:
            if not is_failing:
                raise
            report.say(error.message)
    return file


def _registered(
    request: SweepRequest,
    settings: Settings,
    report: Report,
    plan: SweepPlan,
    result: "SweepResult",
    images: Dataset,
    test: Dataset | None,
) -> dict[str, Any]:
    """Registers the winner, trained once more on all classes when that is asked for."""
    folder, device = result.model, settings.device
    if request.refit:
        config = plans.best_config(plan, result.best, holdout=0.0)
        runs = settings.home / "runs"
        refitted = training.train(config, images, runs, resume=True, device=device, on_progress=report.progress)
        assert refitted is not None  # only further processes get None
        folder = refitted.bundle.directory
    facts: dict[str, Any] = {
        "best": {
            "settings": result.best.settings,
            "map@r": result.measured.map_at_r,
            "selected_by_map@r": result.best.map_at_r,
            "repeats": plan.repeats,
            "held_out": result.record.plan["held_out"],
            "seconds": result.best.seconds,
        },
        "ranking": [_ranked(configuration) for configuration in result.record.configurations()],
        "level": [configuration.settings for configuration in result.record.level()],
        "trials": [dataclasses.asdict(t) for t in result.record.trials.values() if not result.record.is_measurement(t)],
    }
    if test is not None:
        figures = evaluate(folder, test, device=device, cache_dir=settings.compiled, on_progress=report.progress)
        facts["test"] = figures.metrics
    bundle = Bundle.load(folder)
    facts["model"] = register(bundle, settings, report)
    facts["is_active"] = is_active(facts["model"], settings)
    facts["is_worse"] = is_no_better(bundle.metrics)
    facts["held_out_classes"] = held_out_classes(bundle.lineage)
    return facts


def _ranked(configuration: Configuration) -> dict[str, Any]:
    """A setting's mean over its repeats; where some did not go to the end, at the epoch that all of them reached."""
    value, deviation = configuration.known_map_at_r, configuration.deviation
    return {
        "settings": configuration.settings,
        "map@r": None if math.isnan(value) else value,
        "deviation": None if math.isnan(deviation) else deviation,
        "epoch": None if configuration.is_complete else configuration.common_epoch,
        "done": len(configuration.done),
        "planned": configuration.planned,
    }
