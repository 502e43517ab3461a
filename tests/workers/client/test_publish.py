"""What a client refuses to publish before anything is built."""

from types import SimpleNamespace
from typing import Any

import pytest

from ml.model.verdict import is_no_better
from workers.client import Client
from workers.errors import Refused

WORSE = {"held_out_map@r": 0.33, "held_out_map@r_before": 0.479}


def _client(metrics: dict[str, float], **lineage: object) -> Any:
    registry = SimpleNamespace(record=lambda model: SimpleNamespace(metrics=metrics, lineage=lineage))
    return SimpleNamespace(registry=registry, _waiting_preview=lambda model: None)


def test_a_model_that_training_made_worse_is_not_published_unforced() -> None:
    with pytest.raises(Refused, match=r"no better than an untrained one: mAP@R 33.0, before training 47.9") as caught:
        Client.publish(_client(WORSE), "ruined")
    assert "lookalike publish ruined --force" in caught.value.hint


def test_few_held_out_classes_are_told_with_the_verdict() -> None:
    with pytest.raises(Refused, match=r"an untrained one on 2 held-out classes, too few to be sure: mAP@R 33.0"):
        Client.publish(_client(WORSE, held_out_classes=["a", "b"]), "ruined")
    with pytest.raises(Refused, match=r"an untrained one: mAP@R 33.0"):
        Client.publish(_client(WORSE, held_out_classes=["a", "b"], holdout={"split": "val"}), "ruined")


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        (WORSE, True),
        ({"held_out_map@r": 0.8, "held_out_map@r_before": 0.5}, False),
        ({"held_out_map@r": 1.0, "held_out_map@r_before": 1.0}, False),
        ({"held_out_map@r": 0.499, "held_out_map@r_before": 0.5}, False),  # less than noise
        ({"held_out_map@r": 0.1}, False),
        (WORSE | {"intervals": {"held_out_map@r_gain": [-0.3, -0.01]}}, True),
        (WORSE | {"intervals": {"held_out_map@r_gain": [-0.3, 0.0]}}, False),  # one image of a few, perhaps
        # `--lr 100` with two held-out classes: one collapsed, by chance the other was right
        (
            {"held_out_map@r": 0.5, "held_out_map@r_before": 0.93, "intervals": {"held_out_map@r_gain": [-0.93, 0.07]}},
            True,
        ),
        ({}, False),
    ],
)
def test_worse_means_by_more_than_noise(metrics: dict[str, Any], expected: bool) -> None:
    assert is_no_better(metrics) is expected
