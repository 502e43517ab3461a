"""`lookalike train`: labelled photos to a registered model."""

from typing import Any

import click

from deploy.cli.console import Console, command
from deploy.cli.models import publish_and_show
from deploy.cli.setting_option import parsed, setting_option, track_option
from deploy.cli.training_report import ConsoleReport
from ml.model.verdict import are_few

_LOSSES = "normsoftmax, softmax, proxy_anchor, arcface, multi_similarity, triplet, …"


@command("train", example="lookalike train photos/train --test photos/test --preset accurate")
@click.argument("data")
@click.option("--test", metavar="DATA", help="Photos of other classes to measure the finished model on.")
@click.option(
    "--preset",
    type=click.Choice(["fast", "accurate"]),
    help="A linear head in about a minute, or the whole network in minutes. [accurate]",
)
@click.option(
    "--recipe",
    type=click.Choice(["cub200", "cars196", "sop", "inshop"]),
    help="DATA is this data set as published: train and measure as the NormSoftmax paper does.",
)
@click.option(
    "--backbone",
    metavar="B",
    help="A name of timm, NAME@FILE, NAME@random, hf-hub:OWNER/NAME, a model's folder, package.module:Name, or"
    " auto for the best of those that are at hand."
    " [efficientnet_lite0]",
)
@click.option(
    "--loss",
    metavar="L",
    help=f"{_LOSSES}, a class of pytorch-metric-learning, or package.module:Class. [normsoftmax]",
)
@click.option(
    "--miner",
    metavar="M",
    help="Of pairs for the loss: own, none, a class of pytorch-metric-learning, or package.module:Class. [own]",
)
@click.option("--augmentation", metavar="A", help="How photos vary: default, none, or package.module:Class. [default]")
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
@click.option(
    "--holdout",
    type=click.FloatRange(0, 0.9),
    metavar="X",
    help="Share of classes, or of each one's photos, to hold out. [0.1]",
)
@click.option(
    "--split",
    type=click.Choice(["auto", "classes", "images"]),
    help="Hold out whole classes, or photos of every class; auto: photos where there are fewer than 20 classes. [auto]",
)
@click.option(
    "--tune/--no-tune",
    default=None,
    help="Where held-out classes gain by it, fit the head to the gallery's own photos at the end. [--tune]",
)
@click.option("--patience", type=click.IntRange(0, 1000), metavar="N", help="Stop after N epochs without gain.")
@click.option("--seed", type=int, metavar="N", help="Seed of everything random. [0]")
@setting_option
@click.option("--workers", type=click.IntRange(1, 1024), default=1, show_default=True, help="Processes that train.")
@click.option("--gpus", type=click.IntRange(0, 1024), metavar="N", help="GPUs to train on, a process each; 0 for none.")
@click.option("--strict", is_flag=True, help="Notes on the data (copies, leaks, files left out) are errors.")
@click.option("--resume", is_flag=True, help="Go on where the same command was stopped.")
@track_option
@click.option("--publish", is_flag=True, help="Make the model the one that answers searches.")
def train(
    console: Console,
    data: str,
    test: str | None,
    preset: str | None,
    recipe: str | None,
    workers: int,
    gpus: int | None,
    strict: bool,
    resume: bool,
    track: str,
    publish: bool,
    settings_given: tuple[str, ...],
    **changes: Any,
) -> None:
    """Train a model on labelled photos, so that its neighbours are right.

    DATA is a folder with one folder for each class, a CSV with the columns path,label[,split], or the word gallery
    for the labelled photos of the gallery. No other option is needed. The finished model is registered under the name
    that is printed; `lookalike publish NAME` makes it answer.
    """
    from deploy.cli.recorded_run import recorded
    from workers import settings
    from workers.messages import TrainRequest
    from workers.trainer.train import train as run

    if recipe is not None and (preset is not None or test is not None):
        raise click.UsageError("--recipe stands for --preset and --test: leave those out")
    current = settings.load()
    config = {name: value for name, value in changes.items() if value is not None} | parsed(settings_given)
    request = TrainRequest(
        data, test, preset or "accurate", config, workers, gpus, resume, recipe=recipe, strict=strict, track=track
    )
    with ConsoleReport(console) as shown, recorded(current, request, shown) as report:
        trained = run(request, current, report)
    facts = {"model": trained.model, **trained.metrics}
    facts |= {
        name: getattr(trained, name)
        for name in ("seconds", "threshold", "held_out_classes", "holdout", "tuning", "is_worse", "is_active")
    }
    if trained.paper:
        facts |= {"recipe": recipe, "paper": trained.paper}
    publish_and_show(console, current, facts, _show_trained, publish=publish)


def _show_trained(console: Console, facts: dict[str, Any]) -> None:
    console.show(f"model {facts['model']} in {facts['seconds']:.0f} s")
    held_out, before, test = (facts.get(key) for key in ("held_out_map@r", "held_out_map@r_before", "map@r"))
    if held_out is not None:
        was = "" if before is None else f" (before training {100 * before:.1f})"
        classes, holdout = facts["held_out_classes"], facts["holdout"]
        of_classes = holdout.get("split", "classes") == "classes"
        what = f"{classes} held-out classes" if of_classes else f"{holdout['images']} held-out photos"
        if not of_classes:
            console.show(f"photos were held out, not classes: {holdout['why']}")
        console.show(f"{what}: mAP@R {100 * held_out:.1f}{was}, recall@1 {100 * facts['held_out_recall@1']:.1f}")
        if of_classes and are_few(classes) and not facts["is_worse"]:  # else the verdict says it
            console.show("so few classes say little: measure on others with lookalike evaluate, or raise --holdout")
    _show_tuning(console, facts.get("tuning") or {})
    if test is not None:
        plain = facts.get("map@r_before_tuning")
        untuned = "" if plain is None else f" (before the gallery's photos {100 * plain:.1f})"
        console.show(f"test: mAP@R {100 * test:.1f}{untuned}, recall@1 {100 * facts['recall@1']:.1f}")
        if facts.get("transductive"):
            console.show(
                f"transductive: {facts['transductive']} test photos are among those that the head was fitted to"
            )
    if "paper" in facts:
        console.show(f"the paper: recall@1 {facts['paper']['recall@1']:.1f}")


def _show_tuning(console: Console, tuning: dict[str, Any]) -> None:
    if tuning.get("scheme"):
        before, after = (100 * tuning[name] for name in ("map@r_before", "map@r"))
        console.show(
            f"a head fitted to photos without labels: held-out classes {before:.1f} → {after:.1f}, new queries"
        )
    if "photos" in tuning:
        console.show(f"the head was fitted to {tuning['photos']} photos of the gallery")
