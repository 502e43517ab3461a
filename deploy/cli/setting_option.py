"""Options of `train` and `sweep`: `--track`, and `--set NAME=VALUE` for every setting there is."""

from collections.abc import Sequence
from typing import Any

import click

setting_option = click.option(
    "--set",
    "settings_given",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any other setting of training, such as layer_decay=0.8 or augmentation.rotation=45; repeat it.",
)

track_option = click.option(
    "--track",
    type=click.Choice(["wandb", "mlflow"]),
    callback=lambda _context, _option, service: service or "",
    help="Report to Weights & Biases or MLflow, too; its package has to be installed.",
)


def parsed(texts: Sequence[str]) -> dict[str, Any]:
    """What `--set` was given, by name, each as its type.

    Raises:
        BadSearchSpace: there is no such setting, or the text is no value of its type.
    """
    from ml.sweeps import search_space
    from ml.training.config import TrainConfig

    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"--set must be NAME=VALUE, got {text!r}")
        name = name.strip().replace("-", "_")
        values[name] = search_space.value(name, value, TrainConfig)
    return values
