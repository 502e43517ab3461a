"""`lookalike sweep`: many trainings, to find settings that do better."""

import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deploy.cli.console import Console, Phases, command
from deploy.cli.sweep_table import Table
from ml.errors import LookalikeError

if TYPE_CHECKING:
    from ml.data.datasets import Dataset
    from ml.sweeps.record import Record
    from ml.sweeps.run import SweepPlan, SweepResult
    from workers.settings import Settings


@command("sweep", example="lookalike sweep photos/train --grid lr=3e-4,1e-3 --grid temperature=0.05,0.1")
@click.argument("data", nargs=-1)
@click.option("--test", metavar="DATA", help="Photos of other classes to measure the best model on, at the end.")
@click.option("--grid", multiple=True, metavar="K=V,V", help="Values, or a range as in lr=log:1e-5..1e-2; repeat it.")
@click.option("--space", type=click.Path(path_type=Path), metavar="FILE", help="The same as a TOML file.")
@click.option(
    "--search",
    type=click.Choice(["grid", "random", "optuna"]),
    help="Which settings to try. [grid for values, optuna for ranges]",
)
@click.option(
    "--scheduler",
    type=click.Choice(["asha", "none"]),
    default="asha",
    show_default=True,
    help="End trials that fall behind, or none.",
)
@click.option("--trials", type=click.IntRange(1, 10000), metavar="N", help="Settings to try; a grid tries all. [12]")
@click.option("--repeats", type=click.IntRange(1, 100), default=1, show_default=True, help="Seeds for each setting.")
@click.option(
    "--preset",
    type=click.Choice(["fast", "accurate"]),
    default="accurate",
    show_default=True,
    help="What does not vary.",
)
@click.option("--epochs", type=click.IntRange(0, 10000), metavar="N", help="Of each trial. [6]")
@click.option("--train-px", type=click.IntRange(32, 1024), metavar="N", help="Side of the photos in training.")
@click.option("--test-px", type=click.IntRange(32, 1024), metavar="N", help="Side of the photos in search.")
@click.option("--dim", type=click.IntRange(1, 65536), metavar="N", help="Length of the vectors. [512]")
@click.option("--holdout", type=click.FloatRange(0.01, 0.9), metavar="X", help="Share of classes to judge by. [0.25]")
@click.option("--seed", type=int, metavar="N", help="Of everything random. [0]")
@click.option("--workers", type=click.IntRange(1, 1024), default=1, show_default=True, help="Processes of each trial.")
@click.option("--gpus", type=click.IntRange(0, 1024), metavar="N", help="GPUs to use; 0 for none.")
@click.option("--resume", metavar="NAME", help="Go on with this sweep; what it finished is not repeated.")
@click.option("--refit", is_flag=True, help="Train the best settings once more, on all classes.")
@click.option("--publish", is_flag=True, help="Make the best model the one that answers searches.")
@click.option("--job", hidden=True, help="Job record to report to.")
def sweep(
    console: Console,
    data: tuple[str, ...],
    test: str | None,
    resume: str | None,
    refit: bool,
    publish: bool,
    job: str | None,
    **options: Any,
) -> None:
    """Try many settings of training, and keep the best model.

    DATA is as for `lookalike train`; with several, settings are judged by the mean over them. No other option is
    needed: the default space holds what decides most. Settings are judged by classes held out of DATA, never by --test.
    """
    from deploy.cli import training_data
    from ml.sweeps.run import sweep as run
    from workers import settings
    from workers.client.training import reporting_to

    current = settings.load()
    began = time.monotonic()
    with reporting_to(current, job) as tell, Phases(console) as phases:
        plan, directory, sources = _planned(current, data, resume, options)
        sets = _apart([training_data.read(source, current, on_progress=phases.show) for source in sources])
        measured = None if test is None else training_data.read_test(test, test, current, on_progress=phases.show)
        phases.close()
        record = _record(directory, plan, sources)
        _same_data(record, sets)
        console.say(f"sweep {directory.name}: {plan.search} search, in {directory}")
        with Table(console, plan) as table:

            def on_change(changed: "Record") -> None:
                table.show(changed)
                tell(_progress(changed, plan))

            try:
                result = run(plan, sets, record, on_change=on_change)
            except KeyboardInterrupt:
                console.say(f"finished trials are kept: lookalike sweep --resume {record.directory.name}")
                raise
            finally:
                report = _reported(record, console)
        found = _kept(console, phases, current, plan, result, sets[0], measured, refit)
        found |= {"report": str(report), "name": record.directory.name, "seconds": round(time.monotonic() - began, 1)}
        if publish:
            found |= {"published": _publish(console, current, found["model"])}
        tell({"phase": "done", "best": found["best"], "model": found["model"], "report": found["report"]})
    console.result(found)
    _show(console, found)


def _planned(
    current: "Settings", data: tuple[str, ...], resume: str | None, options: dict[str, Any]
) -> tuple["SweepPlan", Path, list[str]]:
    """What to do, in which folder and on what data: a new sweep, or one to go on with. Writes nothing."""
    from ml.sweeps.record import Record
    from ml.sweeps.run import SweepPlan

    sweeps = current.home / "sweeps"
    if resume is not None:
        if Path(resume).name != resume or resume in ("", ".", ".."):
            raise LookalikeError(f"{resume!r} is no sweep's name", hint=f"names are the folders in {sweeps}")
        record = Record.load(sweeps / resume)
        return SweepPlan.from_json(record.plan), record.directory, list(data) or list(record.plan["sources"])
    if not data:
        raise click.UsageError("Missing argument 'DATA...'.")
    plan = _new_plan(options)
    stem = "".join(c if c.isascii() and c.isalnum() else "-" for c in Path(data[0]).stem.lower()).strip("-")[:30]
    name = f"{stem or 'sweep'}-{time.strftime('%Y%m%d-%H%M%S')}"
    sources = [source if source == "gallery" else str(Path(source).expanduser().resolve()) for source in data]
    if (sweeps / name).exists():
        raise LookalikeError(f"a sweep {name} has just been started", hint="start this one in a second")
    return plan, sweeps / name, sources


def _record(directory: Path, plan: "SweepPlan", sources: list[str]) -> "Record":
    """What an earlier run of this sweep left, or a new record."""
    from ml.sweeps.record import Record

    if directory.exists():
        return Record.load(directory)
    return Record.new(directory, plan.to_json() | {"sources": sources})


def _new_plan(options: dict[str, Any]) -> "SweepPlan":
    from ml.sweeps import search_space
    from ml.sweeps.run import DEFAULT_EPOCHS, DEFAULT_HOLDOUT, DEFAULT_SPACE, DEFAULT_TRIALS, SweepPlan
    from ml.sweeps.search_space import BadSearchSpace, Choice
    from ml.training.config import TrainConfig, preset_config

    space = dict(search_space.parse(options["grid"], TrainConfig))
    if options["space"] is not None:
        for name, dimension in search_space.read(options["space"], TrainConfig).items():
            if name in space:
                raise BadSearchSpace(f"{name} stands in --grid and in {options['space']}", hint="say it once")
            space[name] = dimension
    space = space or dict(DEFAULT_SPACE)
    is_listed = all(isinstance(dimension, Choice) for dimension in space.values())
    search = options["search"] or ("grid" if is_listed else "optuna")
    settings = math.prod(len(d.values) for d in space.values() if isinstance(d, Choice))
    if search == "grid":
        list(search_space.grid(space))  # says what is wrong before anything is written
    fixed = ("epochs", "train_px", "test_px", "dim", "holdout", "seed")
    changes = {name: options[name] for name in fixed if options[name] is not None}
    if options["preset"] == "accurate":
        changes = {"epochs": DEFAULT_EPOCHS} | changes
    base = preset_config(options["preset"], **({"holdout": DEFAULT_HOLDOUT} | changes))
    return SweepPlan(
        space,
        base,
        search=search,
        scheduler=options["scheduler"],
        trials=settings if search == "grid" else options["trials"] or DEFAULT_TRIALS,
        repeats=options["repeats"],
        workers=options["workers"],
        gpus=options["gpus"],
    )


def _apart(sets: list["Dataset"]) -> list["Dataset"]:
    """With names that differ: `a/train` and `b/train` are both called train."""
    import dataclasses

    names = [one.name for one in sets]
    return [
        dataclasses.replace(one, name=f"{one.name}-{number}") if names.count(one.name) > 1 else one
        for number, one in enumerate(sets, 1)
    ]


def _same_data(record: "Record", sets: list["Dataset"]) -> None:
    """Remembers which data a sweep is on, and refuses to go on with other data."""
    facts = [{"name": one.name, "fingerprint": one.fingerprint, "images": len(one)} for one in sets]
    known = record.plan.setdefault("data", facts)
    if [one["fingerprint"] for one in known] != [one["fingerprint"] for one in facts]:
        raise LookalikeError(
            f"the photos have changed since sweep {record.directory.name} began", hint="start a new sweep"
        )
    record.save()


def _reported(record: "Record", console: Console) -> Path:
    """Draws the report; of an interrupted sweep too."""
    from ml.sweeps.report import write

    file = record.directory / "report.html"
    if record.trials:
        is_failing = sys.exception() is not None
        try:
            write(record, file)
        except LookalikeError as error:
            if not is_failing:
                raise
            console.say(error.message)
    return file


def _kept(
    console: Console,
    phases: Phases,
    current: "Settings",
    plan: "SweepPlan",
    result: "SweepResult",
    data: "Dataset",
    test: "Dataset | None",
    refit: bool,
) -> dict[str, Any]:
    """Registers the winner, refitted when asked."""
    import dataclasses

    from ml.evaluation.evaluate import evaluate
    from ml.model.registry import Registry
    from ml.sweeps.run import best_config
    from ml.training.train import train

    folder = result.model
    if refit:
        config = best_config(plan, result.best, holdout=0.0)
        made = train(config, data, current.home / "runs", resume=True, device=current.device, on_progress=phases.show)
        assert made is not None  # only further processes get None
        folder = made.bundle.directory
    found: dict[str, Any] = {
        "best": {"settings": result.best.settings, "map@r": result.best.map_at_r, "seconds": result.best.seconds},
        "trials": [dataclasses.asdict(trial) for trial in result.record.trials.values()],
    }
    if test is not None:
        measured = evaluate(folder, test, device=current.device, cache_dir=current.compiled, on_progress=phases.show)
        found["test"] = measured.metrics
    phases.close()
    console.step("registering the model")
    found["model"] = Registry(current.models_url).register(folder, cache_dir=current.compiled)
    return found


def _publish(console: Console, current: "Settings", model: str) -> dict[str, Any]:
    from deploy.cli.models import publish_and_follow
    from deploy.local.connection import connect
    from workers.client import Client

    with connect(current, say=console.step) as connected:
        return publish_and_follow(console, Client(connected), model)


def _progress(record: "Record", plan: "SweepPlan") -> dict[str, Any]:
    """What a job record tells of a sweep."""
    states = [trial.state for trial in record.trials.values()]
    ranked = [setting for setting in record.settings() if setting.done]
    best = {"settings": ranked[0].settings, "map@r": ranked[0].map_at_r} if ranked else None
    total = plan.trials * plan.repeats
    done = sum(state != "running" for state in states)
    return {"phase": "trials", "sweep": record.directory.name, "done": done, "total": total, "best": best}


def _show(console: Console, found: dict[str, Any]) -> None:
    best = found["best"]
    settings = "  ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in best["settings"].items()
    )
    console.show(f"best: {settings}")
    console.show(f"held-out classes: mAP@R {100 * best['map@r']:.1f}")
    if "test" in found:
        console.show(f"test: mAP@R {100 * found['test']['map@r']:.1f}")
    console.show(f"report: {found['report']}")
    console.show(f"make it answer: lookalike publish {found['model']}")
