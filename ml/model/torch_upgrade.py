"""Conversion of old bundles for which torch is needed: every backbone but the default one."""

from pathlib import Path

import torch

from ml.model.network import EmbeddingModel
from ml.model.save import parts_of
from ml.model.upgrade import read_old, replace, weights_and_head


def upgrade(directory: str) -> None:
    """As `ml.model.upgrade.upgrade`, which calls it in a child process."""
    old = read_old(Path(directory))
    weights, head = weights_and_head(old)
    model = EmbeddingModel(old.backbone, old.preprocessing).eval()
    model.backbone.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    model.set_head(head)
    replace(old, parts_of(model))
