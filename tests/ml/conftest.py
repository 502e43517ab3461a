"""Small labelled sets and quick settings for tests of training."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml import datasets
from ml.datasets import Dataset
from ml.train import TrainConfig, preset_config


def write_picture(path: Path, seed: int = 0, size: tuple[int, int] = (40, 32)) -> Path:
    """A JPEG of coloured noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).resize(size).save(path, quality=90)
    return path


@pytest.fixture(scope="session")
def products(demo_photos: Path) -> Dataset:
    """8 products, 6 views each."""
    return datasets.load(demo_photos)


def quick(**changes: object) -> TrainConfig:
    """Settings that take seconds."""
    return preset_config(
        "accurate",
        **({"epochs": 2, "train_px": 64, "test_px": 64, "dim": 32, "holdout": 0.25, "mirror": False} | changes),
    )
