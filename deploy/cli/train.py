"""`lookalike train`: labelled photos to a registered model."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deploy.cli.console import Console, Phases, command

if TYPE_CHECKING:
    from ml.training.config import TrainConfig
    from ml.training.finetune import EpochReport
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
    help="A linear head in about a minute, or the whole network in minutes.",
)
@click.option("--backbone", metavar="B", help="A name of timm, NAME@FILE, or a model's folder. [efficientnet_lite0]")
@click.option("--loss", metavar="L", help=f"{_LOSSES} [normsoftmax]")
@click.option("--dim", type=click.IntRange(1, 65536), metavar="N", help="Length of the vectors. [512]")
@click.option("--epochs", type=click.IntRange(0, 10000), metavar="N", help="Passes over the photos.")
@click.option("--lr", type=float, metavar="X", help="Highest learning rate of the network.")
@click.option("--temperature", type=float, metavar="X", help="Temperature of NormSoftmax. [0.05]")
@click.option(
    "--images-per-class", type=click.IntRange(0, 1024), metavar="N", help="Photos of each class in a batch. [4]"
)
@click.option(
    "--classes-per-batch", type=click.IntRange(2, 4096), metavar="N", help="Different classes in a batch. [8]"
)
@click.option("--train-px", type=click.IntRange(32, 1024), metavar="N", help="Side of the photos in training.")
@click.option("--test-px", type=click.IntRange(32, 1024), metavar="N", help="Side of the photos in search.")
@click.option("--holdout", type=click.FloatRange(0, 0.9), metavar="X", help="Share of classes to hold out. [0.1]")
@click.option("--patience", type=click.IntRange(0, 1000), metavar="N", help="Stop after N epochs without gain.")
@click.option("--seed", type=int, metavar="N", help="Seed of everything random. [0]")
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
    from deploy.cli import training_data
    from ml.model.registry import Registry
    from ml.training.config import preset_config
    from workers import settings
    from workers.client.training import reporting_to

    current = settings.load()
    config = preset_config(preset, **{name: value for name, value in changes.items() if value is not None})
    runs = current.home / "runs"
    with reporting_to(current, job) as tell:
        with Phases(console, on_phase=lambda what: tell({"phase": what})) as phases:
            images = training_data.read(data, current, on_progress=phases.show)
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
                    result = _run(config, images, measured, runs, workers, gpus, current, resume, phases, on_epoch)
                except KeyboardInterrupt:
                    if last is not None:
                        done = f"{last.epoch} of {last.epochs} epochs are kept"
                        phases.say(f"{done}: the same command with --resume goes on after them")
                    raise
            phases.close()
            console.step("registering the model")
            name = Registry(current.models_url).register(result["directory"], cache_dir=current.compiled)
        for remark in result["remarks"]:
            console.say(f"note: {remark}")
        facts = {key: result[key] for key in ("seconds", "threshold", "held_out_classes")}
        found = {"model": name, **result["metrics"], **facts}
        if publish:
            from deploy.cli.models import publish_and_follow
            from deploy.local.connection import connect
            from workers.client import Client

            with connect(current, say=console.step) as connected:
                found |= {"published": publish_and_follow(console, Client(connected), name)}
        held = {key: value for key, value in found.items() if key.startswith("held_out_map@r")}
        tell({"phase": "done", "model": name} | held)
    console.result(found)
    _show_trained(console, name, found)


def _run(
    config: "TrainConfig",
    images: Any,
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
        from ml.ray_cluster.data_parallel import train_distributed

        result = train_distributed(
            config,
            images,
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
        from ml.training.train import train as run

        device = "cpu" if gpus == 0 else current.device
        made = run(
            config,
            images,
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
