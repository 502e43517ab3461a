"""Which model a command means."""

from pathlib import Path
from typing import TYPE_CHECKING

from ml.errors import LookalikeError

if TYPE_CHECKING:
    from workers.settings import Settings


def model_folder(name: str, current: "Settings") -> Path:
    """The folder of a model: a name that the registry holds, `active`, or a folder.

    Raises:
        UnknownModel: the registry has no such model.
        LookalikeError: no model is active yet.
    """
    from ml.model.registry import Registry

    if (Path(name) / "model.json").exists():
        return Path(name)
    registry = Registry(current.models_url)
    if name == "active":
        active = registry.active()
        if active is None:
            raise LookalikeError("no model is active yet", hint="start the system once: lookalike up")
        name = active.model
    return registry.fetch(name, current.home / "cache" / "models")
