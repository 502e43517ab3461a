"""`lookalike export`: a model as one file that other programs run."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploy.cli.console import Console, command

if TYPE_CHECKING:
    from ml.preprocessing import Preprocessing

_FITS = {"crop": "the short side", "squash": "both sides", "pad": "the long side, padded with the mean colour,"}


@command("export", example="lookalike export MODEL --onnx model.onnx")
@click.argument("model")
@click.option(
    "--onnx",
    "file",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write it there; a file that is there is replaced.",
)
def export(console: Console, model: str, file: Path) -> None:
    """Write a MODEL as one ONNX file: image in, vector of unit length out.

    MODEL is as for `lookalike evaluate`. The file's input `image` is uint8 [n, s, s, 3], red, green and blue, scaled
    and cut to s x s as the model's preprocessing says, which is printed and stands in the file's metadata; everything
    behind that is inside. Its output `embedding` is float32 [n, dim].
    """
    from deploy.cli.model_folder import model_folder
    from ml.model.export import export_onnx
    from ml.model.upgrade import load_bundle
    from workers import settings

    bundle = load_bundle(model_folder(model, settings.load()))
    export_onnx(bundle, file)
    preprocessing = bundle.preprocessing
    console.result(
        {"model": bundle.name, "file": str(file), "dim": bundle.dim, "preprocessing": preprocessing.to_json()}
    )
    side = preprocessing.size_px
    console.show(f"{file}: image uint8 [n, {side}, {side}, 3] in, embedding float32 [n, {bundle.dim}] out")
    console.show(f"photos for it: {_scaled(preprocessing)}")


def _scaled(preprocessing: "Preprocessing") -> str:
    """What becomes of a photo before the network sees it, as far as something is scaled, cut or filled up."""
    side, scaled = preprocessing.size_px, preprocessing.resize_px
    cut = f", then the middle {side} x {side}" if preprocessing.fit == "crop" or scaled > side else ""
    return f"{_FITS[preprocessing.fit]} scaled to {scaled} px ({preprocessing.interpolation}){cut}"
