"""The stand-in has the face of the real client, so that a test against it says something about the portal."""

import ast
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import web
from ml.model.registry import Registry
from tests.web.stand_in import StandInClient
from workers.client import Client
from workers.client.training import Trainings
from workers.settings import Settings

METHODS = [name for name, _ in inspect.getmembers(StandInClient, inspect.isfunction) if not name.startswith("_")]


def face(function: Callable[..., Any]) -> list[tuple[str, Any, Any]]:
    """Names, kinds and defaults of the parameters, without `self`."""
    parameters = inspect.signature(function).parameters.values()
    return [(each.name, each.kind, each.default) for each in parameters if each.name != "self"]


def called_by_the_portal() -> set[str]:
    """What the portal's code asks of the client: `client().name`, and `ours.name` or `client.name` of a local one."""
    names = set()
    for file in Path(web.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(node, ast.Attribute):
                continue
            owner = node.value.func if isinstance(node.value, ast.Call) else node.value
            if isinstance(owner, ast.Name) and owner.id in ("client", "ours"):
                names.add(node.attr)
    return names


@pytest.mark.parametrize("name", METHODS)
def test_a_method_of_the_stand_in_takes_what_the_clients_takes(name):
    assert face(getattr(StandInClient, name)) == face(getattr(Client, name))


def test_it_has_everything_that_the_portal_calls(portal_settings):
    stand_in = StandInClient(portal_settings)
    used = called_by_the_portal()
    assert {"search", "images", "label", "trainings"} <= used
    assert not {name for name in used if not hasattr(stand_in, name)}


def test_registry_and_trainings_are_like_the_real_ones(portal_settings: Settings):
    stand_in = StandInClient(portal_settings)
    assert face(stand_in.registry.previous) == face(Registry.previous)
    assert face(stand_in.trainings.can_start) == face(Trainings.can_start)
    assert face(stand_in.trainings.start) == face(Trainings.start)
