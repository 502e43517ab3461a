"""The portal of tests/web, for whoever attacks it, and a small model."""

from pathlib import Path

import pytest
import torch

from ml.model.network import EmbeddingModel
from ml.model.save import save_bundle
from tests.security.hostile import TINY
from tests.web.conftest import app, blue, browser, portal_settings, red, workers_side

__all__ = ["app", "blue", "browser", "portal_settings", "red", "workers_side"]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights; nobody may change it."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    save_bundle(EmbeddingModel("resnet10t", TINY, dim=8), folder, name="tiny")
    return folder
