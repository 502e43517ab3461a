"""`lookalike sweep`: many trainings, to find settings that do better."""

from pathlib import Path
from typing import Any

import click

from deploy.cli.console import Console, command, table
from deploy.cli.models import publish_and_show
from deploy.cli.setting_option import parsed, setting_option, track_option
from deploy.cli.training_report import ConsoleReport


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
@click.option("--repeats", type=click.IntRange(1, 100), default=1, show_default=True, help="Seeds per configuration.")
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
@click.option(
    "--split",
    type=click.Choice(["auto", "classes", "images"]),
    help="Judge by whole classes, or by photos of every class; auto: photos where classes are fewer than 20. [auto]",
)
@click.option("--seed", type=int, metavar="N", help="Of everything random. [0]")
@setting_option
@click.option("--workers", type=click.IntRange(1, 1024), default=1, show_default=True, help="Processes of each trial.")
@click.option("--gpus", type=click.IntRange(0, 1024), metavar="N", help="GPUs to use; 0 for none.")
@click.option("--resume", metavar="NAME", help="Go on with this sweep; what it finished is not repeated.")
@click.option("--refit", is_flag=True, help="Train the best settings once more, on all classes.")
@track_option
@click.option("--publish", is_flag=True, help="Make the best model the one that answers searches.")
def sweep(
    console: Console,
    data: tuple[str, ...],
    test: str | None,
    space: Path | None,
    publish: bool,
    settings_given: tuple[str, ...],
    **options: Any,
) -> None:
    """Try many settings of training, and keep the best model.

    DATA is as for `lookalike train`; with several, settings are judged by the mean over them. No other option is
    needed: the default space holds what decides most. Settings are judged by classes held out of DATA, never by --test.
    """
    if not data and options["resume"] is None:
        raise click.UsageError("Missing argument 'DATA...'.")
    from deploy.cli.recorded_run import recorded
    from workers import settings
    from workers.messages import SweepRequest

    current = settings.load()
    from workers.trainer.sweep import sweep as run  # imports Ray, which wants a HOME

    config = {name: value for name in _CONFIG if (value := options.pop(name)) is not None} | parsed(settings_given)
    request = SweepRequest(data, test, space=None if space is None else str(space), config=config, **options)
    with ConsoleReport(console) as shown, recorded(current, request, shown) as report:
        facts = run(request, current, report)
    publish_and_show(console, current, facts, _show, publish=publish)


_CONFIG = (
    "epochs",
    "train_px",
    "test_px",
    "dim",
    "holdout",
    "split",
    "seed",
)  # fixed fields of every trial's configuration


def _show(console: Console, facts: dict[str, Any]) -> None:
    best = facts["best"]
    rows = [_row(ranked) for ranked in facts["ranking"][:_SHOWN]]
    console.show(table(rows, ["setting", "mean mAP@R", "± seeds", "repeats done"]))
    console.show(f"best: {_text(best['settings'])}")
    if level := [_text(settings) for settings in facts["level"]]:
        why = "they are equal" if best["repeats"] == 1 else "the means differ by no more than their standard error"
        console.show(f"no better for sure than {'; '.join(level)}: {why}")
    console.show(f"measured anew {_MEASURED_ON[best['held_out']]}: mAP@R {100 * best['map@r']:.1f}")
    chosen_by = "one seed" if best["repeats"] == 1 else f"the mean of {best['repeats']} seeds"
    console.show(f"chosen by {chosen_by}: mAP@R {100 * best['selected_by_map@r']:.1f}")
    if "test" in facts:
        console.show(f"test: mAP@R {100 * facts['test']['map@r']:.1f}")
    if failed := [trial for trial in facts["trials"] if trial["state"] == "failed"]:
        console.show(f"{len(failed)} of {len(facts['trials'])} trials failed, the first because {failed[0]['reason']}")
    console.show(f"report: {facts['report']}")


_MEASURED_ON = {
    "classes": "on other held-out classes",
    "images": "on other held-out photos of the same classes",
    "val": "with another seed, on the same val rows",
}
_SHOWN = 10  # settings; the report has all of them


def _row(ranked: dict[str, Any]) -> list[str]:
    figure = "–" if ranked["map@r"] is None else f"{100 * ranked['map@r']:.1f}"
    where = "" if ranked["epoch"] is None else f" (epoch {ranked['epoch']})"
    deviation = "–" if ranked["deviation"] is None else f"{100 * ranked['deviation']:.1f}"
    return [_text(ranked["settings"]), figure + where, deviation, f"{ranked['done']} of {ranked['planned']}"]


def _text(settings: dict[str, Any]) -> str:
    return "  ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in settings.items()
    )
