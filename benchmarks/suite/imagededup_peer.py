"""imagededup's CNN over a folder of JPEGs, in its own process: `python -m benchmarks.suite.imagededup_peer FOLDER`.

In one process with OpenVINO and ONNX Runtime it ended that. Prints images per second, without the start and a first go.
"""

import logging
import sys
import time
from pathlib import Path

import torch
from imagededup.methods import CNN
from imagededup.utils.models import CustomModel

from benchmarks.embedding import original_transform
from ml import cores
from ml.model.network import pretrained


def main(folder: Path) -> None:
    logging.disable(logging.INFO)
    torch.set_num_threads(cores.available())
    model, _ = pretrained()
    features = torch.nn.Module()
    features.forward = model.embed
    network = CNN(verbose=False, model_config=CustomModel("lite0", features.eval(), original_transform))
    for _ in range(2):
        began = time.perf_counter()
        encoded = network.encode_images(image_dir=folder, recursive=True)
        took = time.perf_counter() - began
    print(len(encoded) / took)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
