"""Which extra of the installation brings a package that is missing.

What the extras hold is read from the metadata of the installed package, so that pyproject.toml alone says it.
"""

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from ml.errors import LookalikeError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_PROJECT = "lookalike"
_IMPORTED_AS = {"sklearn": "scikit-learn"}  # modules whose package has quite another name


class MissingExtra(LookalikeError):
    """Packages are not installed that belong to an extra, which the message names."""

    def __init__(self, what: str, *extras: str) -> None:
        named = f"extra {extras[0]}" if len(extras) == 1 else f"extras {' and '.join(extras)}"
        super().__init__(f"{what} needs the {named}: {how_to_install(*extras)}")


def require(what: str, *extras: str) -> None:
    """Checks that all packages of these extras are installed.

    Args:
        what: needs them; the subject of the message.
        extras: names of pyproject.toml's optional dependencies.

    Raises:
        MissingExtra: one is not.
    """
    missing = [extra for extra in extras if not is_installed(extra)]
    if missing:
        raise MissingExtra(what, *missing)


def how_to_install(*extras: str) -> str:
    """The command that brings extras to this installation: `make train` where it is a clone's, else pip's."""
    if extras == ("train",) and (Path(__file__).parents[2] / "Makefile").exists():
        return "make train"
    return f"pip install '{_PROJECT}[{','.join(extras)}]'"


def is_installed(extra: str) -> bool:
    """Whether all packages of an extra are."""
    return all(map(_has, _packages(extra)))


def extra_with(module: str) -> str | None:
    """The extra whose package holds a top-level module, such as `worker` for torch; None if no extra does."""
    from packaging.utils import canonicalize_name

    package = canonicalize_name(_IMPORTED_AS.get(module, module))
    extras: list[str] = _metadata().get_all("Provides-Extra") or []
    for extra in extras:
        for name in map(canonicalize_name, _packages(extra, nested=False)):
            if name == package or name.startswith(f"{package}-"):  # qdrant_edge comes in qdrant-edge-py
                return extra
    return None


def _packages(extra: str, *, nested: bool = True) -> Iterator[str]:
    """Names of the packages that an extra asks for on this machine; with `nested` those of extras that it includes."""
    for requirement in _requirements():
        marker = requirement.marker
        if marker is None or marker.evaluate({"extra": ""}) or not marker.evaluate({"extra": extra}):
            continue
        if requirement.name != _PROJECT:
            yield requirement.name
        elif nested:
            for included in sorted(requirement.extras):
                yield from _packages(included)


def _requirements() -> "list[Requirement]":
    from packaging.requirements import Requirement

    return [Requirement(text) for text in _metadata().get_all("Requires-Dist") or ()]


def _metadata() -> metadata.PackageMetadata:
    return metadata.metadata(_PROJECT)


def _has(package: str) -> bool:
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return False
    return True
