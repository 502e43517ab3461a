"""`lookalike train`, `evaluate` and `models`: better models, how good they are, and which there are."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deploy.console import Console, command, table
from deploy.phases import Phases
from ml.errors import LookalikeError

if TYPE_CHECKING:
    from ml.finetune import EpochReport
    from ml.train import TrainConfig
    from workers.settings import Settings

_LOSSES = "normsoftmax, softmax, proxy_anchor, arcface, multi_similarity, triplet, …"


@command("train", example="lookalike train photos/train --test photos/test --preset accurate")
@click.argument("data")
@click.option("--test", metavar="DATA", help="Photos of other classes to measure the finished model on.")
@click.option(
    "--preset",
    type=click.Choice(["fast", "accurate"]),
    default="accurate",
    show_default=True,
    help="A linear head in under a minute, or the whole network in minutes.",
)
@click.option("--backbone", metavar="B", help="A name of timm, NAME@FILE, or a model's folder. [efficientnet_lite0]")
@click.option("--loss", metavar="L", help=f"{_LOSSES} [normsoftmax]")
@click.option("--dim", type=click.IntRange(1, 65536), metavar="N", help="Length of the vectors. [512]")
@click.option("--epochs", type=click.IntRange(0, 10000), metavar="N", help="Passes over the photos.")
@click.option("--lr", type=float, metavar="X", help="Highest learning rate of the network.")
@click.option("--temperature", type=float, metavar="X", help="Of NormSoftmax. [0.05]")
@click.option("--images-per-class", type=click.IntRange(0, 1024), metavar="N", help="In a batch. [4]")
@click.option("--classes-per-batch", type=click.IntRange(2, 4096), metavar="N", help="In a batch. [8]")
@click.option("--train-px", type=click.IntRange(32, 1024), metavar="N", help="Side of the photos in training.")
@click.option("--test-px", type=click.IntRange(32, 1024), metavar="N", help="Side of the photos in search.")
@click.option("--holdout", type=click.FloatRange(0, 0.9), metavar="X", help="Share of classes to hold out. [0.1]")
@click.option("--patience", type=click.IntRange(0, 1000), metavar="N", help="Stop after N epochs without gain.")
@click.option("--seed", type=int, metavar="N", help="Of everything random. [0]")
@click.option("--workers", type=click.IntRange(1, 1024), default=1, show_default=True, help="Processes that train.")
@click.option("--gpus", type=click.IntRange(0, 1024), metavar="N", help="GPUs to train on; 0 for none.")
@click.option("--resume", is_flag=True, help="Go on where the same command was stopped.")
@click.option("--publish", is_flag=True, help="Make the model the one that answers searches.")
@click.option("--job", hidden=True, help="Job record to report to.")
def train(
    console: Console,
    data: str,
    test: str | None,
    preset: str,
    workers: int,
    gpus: int | None,
    resume: bool,
    publish: bool,
    job: str | None,
    **changes: Any,
) -> None:
    """Train a model on labelled photos, so that its neighbours are right.

    DATA is a folder with one folder for each class, a CSV with the columns path,label[,split], or the word gallery
    for the labelled photos of the gallery. No other option is needed. The finished model is registered under the name
    that is printed; `lookalike publish NAME` makes it answer.
    """
    from deploy import training_data
    from ml.train import preset_config
    from workers import settings
    from workers.training import reporting_to

    current = settings.load()
    config = preset_config(preset, **{name: value for name, value in changes.items() if value is not None})
    runs = current.home / "runs"
    with reporting_to(current, job) as tell:
        with Phases(console, on_phase=lambda what: tell({"phase": what})) as phases:
            pictures = training_data.read(data, current, on_progress=phases.show)
            measured = training_data.read_test(test, data, current, on_progress=phases.show)
            last: EpochReport | None = None
            with _logged(current) as log:

                def on_epoch(report: "EpochReport") -> None:
                    nonlocal last
                    if last is None and report.epoch > 1:
                        phases.say(f"went on after epoch {report.epoch - 1}")
                    last = report
                    phases.say(_line(report))
                    log(report)
                    held = None if report.map_at_r != report.map_at_r else report.map_at_r
                    tell({"done": report.epoch, "total": report.epochs, "held_out_map@r": held})

                try:
                    result = _run(config, pictures, measured, runs, workers, gpus, current, resume, phases, on_epoch)
                except KeyboardInterrupt:
                    if last is not None:
                        done = f"{last.epoch} of {last.epochs} epochs are kept"
                        phases.say(f"{done}: the same command with --resume goes on after them")
                    raise
            phases.close()
            console.step("registering the model")
            name = _registry(current).register(result["directory"], cache_dir=current.home / "cache" / "compiled")
        for remark in result["remarks"]:
            console.say(f"note: {remark}")
        facts = {key: result[key] for key in ("seconds", "threshold", "held_out_classes")}
        found = {"model": name, **result["metrics"], **facts}
        if publish:
            from deploy.cli_models import publish_and_follow
            from deploy.connection import connect
            from workers.client import Client

            with connect(current, say=console.step) as connected:
                found |= {"published": publish_and_follow(console, Client(connected), name)}
        tell({"phase": "done", "model": name})
    console.result(found)
    _show_trained(console, name, found)


def _run(
    config: "TrainConfig",
    pictures: Any,
    measured: Any,
    runs: Path,
    workers: int,
    gpus: int | None,
    current: "Settings",
    resume: bool,
    phases: Phases,
    on_epoch: Any,
) -> dict[str, Any]:
    """In this process, or on Ray where more than one process or a cluster is asked for."""
    if workers > 1 or (gpus or 0) > 1 or current.ray_address:
        from ml.distributed import train_distributed

        result = train_distributed(
            config,
            pictures,
            runs,
            test=measured,
            workers=workers,
            gpus=gpus,
            storage=f"{current.storage_url}/training",
            resume=resume,
            on_progress=phases.show,
            on_epoch=on_epoch,
        )
    else:
        from ml.train import train as run

        device = "cpu" if gpus == 0 else current.device
        made = run(
            config,
            pictures,
            runs,
            test=measured,
            resume=resume,
            device=device,
            on_progress=phases.show,
            on_epoch=on_epoch,
        )
        assert made is not None  # only further processes get None
        result = made
    return {
        "directory": result.bundle.directory,
        "metrics": result.metrics,
        "remarks": result.remarks,
        "seconds": round(result.seconds, 1),
        "threshold": result.bundle.threshold,
        "held_out_classes": len(result.bundle.lineage.get("held_out_classes") or ()),
    }


@contextlib.contextmanager
def _logged(current: "Settings") -> Iterator[Any]:
    """TensorBoard logs of this run, below <home>/tensorboard, where the package is installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        yield lambda report: None
        return
    import time

    folder = current.home / "tensorboard" / time.strftime("%Y%m%d-%H%M%S")
    with SummaryWriter(str(folder)) as writer:

        def log(report: "EpochReport") -> None:
            for field in ("loss", "map_at_r", "recall_at_1", "learning_rate", "images_per_s"):
                writer.add_scalar(field, getattr(report, field), report.epoch)

        yield log


def _line(report: "EpochReport") -> str:
    held = "" if report.map_at_r != report.map_at_r else f"  held-out mAP@R {100 * report.map_at_r:5.1f}"
    minutes, seconds = divmod(round(report.seconds_left), 60)
    return (
        f"epoch {report.epoch:2d} of {report.epochs}  loss {report.loss:.3f}{held}"
        f"  {report.images_per_s:.0f} images/s  {minutes}:{seconds:02d} left"
    )


_FEW = 4  # held-out classes; figures of fewer swing by ten points with the draw


def _show_trained(console: Console, name: str, found: dict[str, Any]) -> None:
    console.show(f"model {name} in {found['seconds']:.0f} s")
    held, before, test = (found.get(key) for key in ("held_out_map@r", "held_out_map@r_before", "map@r"))
    if held is not None:
        was = "" if before is None else f" (before training {100 * before:.1f})"
        classes = found["held_out_classes"]
        console.show(
            f"{classes} held-out classes: mAP@R {100 * held:.1f}{was}, recall@1 {100 * found['held_out_recall@1']:.1f}"
        )
        if classes < _FEW:
            console.show("so few classes say little: measure on others with lookalike evaluate, or raise --holdout")
    if test is not None:
        console.show(f"test: mAP@R {100 * test:.1f}, recall@1 {100 * found['recall@1']:.1f}")
    console.show(f"make it answer: lookalike publish {name}")


@command("evaluate", example="lookalike evaluate MODEL photos/test --rerank --binary --report report.html")
@click.argument("model")
@click.argument("data")
@click.option("--rerank", is_flag=True, help="Also after k-reciprocal re-ranking.")
@click.option("--binary", is_flag=True, help="Also as binary codes, 32 times smaller.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write an HTML report.")
@click.option("--compare", multiple=True, metavar="MODEL", help="Another model to set beside it; may be repeated.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of comparative sets and clustering.")
def evaluate(
    console: Console,
    model: str,
    data: str,
    rerank: bool,
    binary: bool,
    report: Path | None,
    compare: tuple[str, ...],
    seed: int,
) -> None:
    """Measure a model on labelled photos, each a query against all the others.

    MODEL is a name that `lookalike models` lists, the word active, or a folder that holds a model. DATA is as for
    `lookalike train`.
    """
    from deploy import training_data
    from ml.evaluate import evaluate as run
    from workers import settings

    current = settings.load()
    with Phases(console) as phases:
        folders = [_folder(name, current) for name in (model, *compare)]
        pictures = training_data.read_test(data, data, current, on_progress=phases.show)
        assert pictures is not None  # DATA itself is given
        found = [
            run(
                folder,
                pictures,
                rerank=rerank,
                binary=binary,
                seed=seed,
                device=current.device,
                cache_dir=current.home / "cache" / "compiled",
                on_progress=phases.show,
            )
            for folder in folders
        ]
        written: dict[str, Any] = {}
        if report is not None:
            from ml.report import write

            phases.close()
            console.step("drawing the report")
            write(found, report)
            written = {"report": str(report)}
    first = found[0]
    others = {other.bundle.name: other.metrics for other in found[1:]}
    extra = {"compared": others} if others else {}
    console.result({"model": first.bundle.name, **first.metrics, **extra, **written})
    _show_metrics(console, found)
    if report is not None:
        console.show(f"report: {report}")


# The figures that are shown, in this order, and what each one says; --json has all of them.
_MEANINGS = {
    "map@r": "how right the R nearest are, R being the other photos of the class; early ones count more",
    "r_precision": "the same, all counting alike",
    "map": "mean average precision over the whole ranking",
    "recall@1": "the nearest photo shows the same class",
    "recall@2": "one of the 2 nearest does",
    "recall@4": "one of the 4 nearest does",
    "recall@8": "one of the 8 nearest does",
    "rerank_map@r": "map@r after k-reciprocal re-ranking",
    "rerank_recall@1": "recall@1 after it",
    "binary_map@r": "map@r of binary codes, 32 times smaller",
    "binary_recall@1": "recall@1 of them",
    "dim256_map@r": "map@r of the first 256 dimensions alone",
    "dim128_map@r": "of the first 128",
    "dim64_map@r": "of the first 64",
    "median_rank": "place of one right photo among 99 wrong ones, median; 1 is best",
    "comparative_recall@1": "how often it comes first",
    "nmi": "agreement of clusters with classes",
    "threshold": "similarity of a match: 1 % of pairs of different classes reach it",
    "match_rate": "pairs of one class that reach it",
    "pictures": "photos measured",
    "classes": "their classes",
}


def _show_metrics(console: Console, found: Any) -> None:
    rows = [
        [name, *(_figure(name, one.metrics.get(name)) for one in found), meaning]
        for name, meaning in _MEANINGS.items()
        if name in found[0].metrics
    ]
    console.show(table(rows, ["", *(one.bundle.name for one in found), ""]))


def _figure(name: str, value: Any) -> str:
    if value is None:
        return "–"
    is_count = name in ("pictures", "classes", "median_rank", "threshold")
    return f"{value:g}" if is_count else f"{100 * value:.1f} %"


@command("models", example="lookalike models")
def models(console: Console) -> None:
    """List the registered models, oldest first: figures, data, and which one answers."""
    from workers import settings

    registry = _registry(settings.load())
    active = registry.active()
    records = [
        {
            "name": record.name,
            "is_active": bool(active and active.model == record.name),
            "backbone": record.backbone,
            "dim": record.dim,
            "metrics": record.metrics,
            "threshold": record.threshold,
            "lineage": record.lineage,
            "sha256": record.sha256,
        }
        for record in registry.models()
    ]
    console.result({"models": records, "active": active.model if active else None})
    if not records:
        console.show("no models yet: lookalike train DATA makes one")
        return
    rows = [
        [
            "*" if record["is_active"] else "",
            record["name"],
            str(record["dim"]),
            _percent(record["metrics"].get("map@r")),
            _percent(record["metrics"].get("recall@1")),
            _percent(record["metrics"].get("held_out_map@r")),
            str(len(record["lineage"].get("held_out_classes") or []) or "–"),
            str((record["lineage"].get("data") or {}).get("name") or "–"),
        ]
        for record in records
    ]
    console.show(table(rows, ["", "model", "dim", "mAP@R", "recall@1", "held-out mAP@R", "of classes", "trained on"]))


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _registry(current: "Settings") -> Any:
    from ml.registry import Registry

    return Registry(f"{current.storage_url}/models")


def _folder(name: str, current: "Settings") -> Path:
    """The folder of a model: a name, `active`, or a folder."""
    if (Path(name) / "model.json").exists():
        return Path(name)
    registry = _registry(current)
    if name == "active":
        active = registry.active()
        if active is None:
            raise LookalikeError("no model is active yet", hint="start the system once: lookalike up")
        name = active.model
    fetched: Path = registry.fetch(name, current.home / "cache" / "models")
    return fetched
