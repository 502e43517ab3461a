"""The default model, compiled once; an S3 server; small labelled sets and quick settings for tests of training."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image

from ml.data import datasets
from ml.data.datasets import Dataset
from ml.model import embedder
from ml.model.bundle import Bundle
from ml.model.embedder import Embedder
from ml.model.network import pretrained
from ml.model.save import save_bundle
from ml.training.config import TrainConfig, preset_config


def write_image(path: Path, seed: int = 0, size: tuple[int, int] = (40, 32)) -> Path:
    """A JPEG of coloured noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).resize(size).save(path, quality=90)
    return path


@pytest.fixture(scope="session")
def default_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The untrained default model."""
    return save_bundle(pretrained()[0], tmp_path_factory.mktemp("models") / "default", name="default")


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where compiled networks are kept from one test to the next."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="session")
def default_embedder(default_bundle: Bundle, compiled: Path) -> Embedder:
    """The default model on this machine's processor."""
    return embedder.load(default_bundle.directory, device="cpu", cache_dir=compiled)


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """A bucket of a real S3 server on this machine."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        }.items():
            patch.setenv(name, value)
        import boto3

        boto3.client("s3").create_bucket(Bucket="models")
        yield "s3://models"
    server.stop()


@pytest.fixture(scope="session")
def products(demo_photos: Path) -> Dataset:
    """8 products, 6 views each."""
    return datasets.load(demo_photos)


def quick(**changes: object) -> TrainConfig:
    """Settings that take seconds."""
    return preset_config(
        "accurate",
        **(
            {
                "epochs": 2,
                "train_px": 64,
                "test_px": 64,
                "dim": 32,
                "holdout": 0.25,
                "split": "classes",
                "mirror": False,
            }
            | changes
        ),
    )
