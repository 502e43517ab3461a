"""The paper's benchmarks on their data sets, which you must have: CUB-200-2011, Cars-196, SOP, In-Shop.

    python benchmarks/recipes.py cub200 DIR [--runs DIR] [--seed 0] [--epochs N] [--resume]

Trains with the settings of `ml.training.recipes` (ResNet-50, 224 px, 2048-d; a GPU is advisable), measures by the
paper's protocol, and prints our figures beside the published ones. docs/benchmarks.md says which have been run.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from ml.training import lineage
from ml.training.recipes import RECIPES, measure, named
from ml.training.train import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", choices=list(RECIPES))
    parser.add_argument("data", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--backbone", help="instead of ResNet-50, for example resnet50.tv_in1k@weights.safetensors")
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    recipe = named(options.recipe)
    changes = {"seed": options.seed, "epochs": options.epochs, "backbone": options.backbone}
    config = replace(recipe.config, **{name: value for name, value in changes.items() if value is not None})
    splits = recipe.read(options.data)
    result = train(
        config,
        splits.train,
        options.runs,
        resume=options.resume,
        on_epoch=lambda report: print(f"epoch {report.epoch}: loss {report.loss:.3f}", flush=True),
    )
    assert result is not None
    figures = measure(result.bundle.directory, splits, ks=recipe.ks)
    print(f"{'':18} ours  published")
    for name, value in figures.items():
        published = recipe.published.get(name)
        print(f"{name:16} {100 * value:6.2f} {'' if published is None else f'{published:9.2f}'}")
    facts = {"recipe": options.recipe, "seconds": result.seconds, "commit": lineage.commit(), "figures": figures}
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
