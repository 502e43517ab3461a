"""Code of the person who trains, named as `package.module:Name`: a loss, a miner, a backbone, an augmentation.

Importing a module runs it. So such a name is only followed where it comes from the command line or the program of the
person who trains: never from a bundle (`ml.model.network.from_bundle`) or from the queue (`workers.trainer`).
"""

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ml.errors import LookalikeError

FORM = "package.module:Name"
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_import_path(text: str) -> bool:
    """Whether a text names code; what follows an @, a file of weights, is not looked at."""
    return _PATH.fullmatch(text.partition("@")[0]) is not None and not text.startswith("auto:")


def found_in(values: Any) -> str | None:
    """The first import path among the texts of plain JSON, words of lists with commas included; None without any."""
    if isinstance(values, str):
        words: Iterable[str] = re.split(r"[=,\s\"'\[\]]+", values)
        return next((word for word in words if is_import_path(word)), None)
    if isinstance(values, Mapping):
        values = list(values.values())
    if isinstance(values, list | tuple):
        return next((path for value in values if (path := found_in(value)) is not None), None)
    return None


def load(path: str, what: str) -> Callable[..., Any]:
    """What an import path names. Modules of the current folder are found, too.

    Args:
        path: `package.module:Name`.
        what: is wanted, for the message: loss, backbone.

    Raises:
        LookalikeError: there is no such module or name, it fails when imported, or cannot be called.
    """
    module_name, _, name = path.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the module raises
        raise LookalikeError(
            f"{what} {path} cannot be imported: {type(error).__name__}: {error}",
            hint="modules are looked for in the current folder and where Python is installed",
        ) from error
    found = getattr(module, name, None)
    if not callable(found):
        raise LookalikeError(f"{what} {path} cannot be called: {module_name} has no class or function {name}")
    code: Callable[..., Any] = found
    return code


def make(code: Callable[..., Any], what: str, **values: Any) -> Any:
    """Calls code with those of the values that it has parameters for.

    Raises:
        LookalikeError: it wants others, or fails.
    """
    try:
        known = _parameters(code)
        return code(**{name: value for name, value in values.items() if name in known})
    except (TypeError, ValueError) as error:
        raise LookalikeError(
            f"{what} cannot be made: {error}", hint=f"it is called with those of {', '.join(values)} that it takes"
        ) from error


def _parameters(code: Callable[..., Any]) -> set[str]:
    """Names of a function's parameters, or of those of a class's constructor and the ones it hands the rest on to."""
    if not inspect.isclass(code):
        return set(inspect.signature(code).parameters)
    names: set[str] = set()
    for base in code.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters.values()  # type: ignore[misc]
        names |= {parameter.name for parameter in parameters}
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return names
