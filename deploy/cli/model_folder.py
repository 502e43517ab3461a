"""Which model a command means."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ml.errors import LookalikeError

if TYPE_CHECKING:
    from workers.settings import Settings


UNTRAINED = "untrained"


def model_folder(name: str, current: "Settings") -> Path:
    """The folder of a model: a name that the registry holds, `active`, `untrained` for the default one as it is
    installed, `untrained:BACKBONE` for another, or a folder.

    Raises:
        UnknownModel: the registry has no such model.
        LookalikeError: no model is active yet.
    """
    from ml.model.registry import Registry

    if (Path(name) / "model.json").exists():
        return Path(name)
    if name == UNTRAINED or name.startswith(f"{UNTRAINED}:"):
        return _untrained(name.partition(":")[2], current)
    registry = Registry(current.models_url)
    if name == "active":
        active = registry.active()
        if active is None:
            raise LookalikeError("no model is active yet", hint="start the system: lookalike up; or name untrained")
        name = active.model
    return registry.fetch(name, current.home / "cache" / "models")


def _untrained(backbone: str, current: "Settings") -> Path:
    """A backbone as its weights come, in a folder of the cache."""
    from ml import files
    from ml.model.default import provide

    folder = current.home / "cache" / UNTRAINED
    folder.mkdir(parents=True, exist_ok=True)
    if not backbone:
        with tempfile.TemporaryDirectory(dir=folder) as work:
            made = provide(Path(work), current.compiled)
            if Path(work) not in made.parents:
                return made  # installed beside the program
            with files.draft(folder / "default") as draft:
                made.rename(draft)
        return folder / "default"
    from ml.model.network import pretrained
    from ml.model.save import save_bundle

    slug = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in backbone).strip("-")[:80]
    return save_bundle(pretrained(backbone)[0], folder / slug, name=f"{UNTRAINED}-{slug}").directory
