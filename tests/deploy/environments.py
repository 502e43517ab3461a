"""Fresh environments that hold what a wheel and its extras ask for, and nothing else.

The packages come from the environment that runs the tests, file by file as links, so that an environment with torch is
made in seconds and without a network; development packages stay out because nothing asks for them.
"""

import contextlib
import importlib.metadata
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def project() -> dict[str, Any]:
    """The table `project` of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return table


def closure(*extras: str) -> set[str]:
    """Every package that installing Lookalike with these extras brings along, normalised names."""
    optional = project()["optional-dependencies"]
    visited: set[tuple[str, str]] = set()
    waiting = [(Requirement(text), "") for text in project()["dependencies"]]
    waiting += [(Requirement(text), "") for extra in extras for text in optional[extra]]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        for own_extra in ("", *requirement.extras):
            name = canonicalize_name(requirement.name)
            if (name, own_extra) in visited:
                continue
            visited.add((name, own_extra))
            if name == "lookalike":  # the installed metadata may be older than pyproject.toml
                waiting += [(Requirement(text), "") for text in optional.get(own_extra, ())]
                continue
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                waiting += [(Requirement(text), own_extra) for text in importlib.metadata.requires(name) or ()]
    return {name for name, _ in visited} - {"lookalike"}


def installed_bytes(name: str) -> int:
    """What a package takes on the disk; 0 where it is not installed."""
    try:
        files = importlib.metadata.files(name)
    except importlib.metadata.PackageNotFoundError:
        return 0
    paths = (Path(str(file.locate())) for file in files or ())
    return sum(path.stat().st_size for path in paths if path.is_file())


def build_wheel(folder: Path) -> Path:
    """The wheel of the working tree, built from a copy of what belongs into it."""
    from shutil import copy, copytree, ignore_patterns

    source = folder / "source"
    source.mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        copy(ROOT / name, source)
    for room in ("ml", "workers", "web", "deploy"):
        copytree(ROOT / room, source / room, ignore=ignore_patterns("__pycache__"))
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source))
    (wheel,) = folder.glob("lookalike-*.whl")
    return wheel


def make_environment(folder: Path, wheel: Path, packages: Iterable[str]) -> Path:
    """An environment with the wheel, and of the packages those that are installed here.

    Returns:
        Its folder of programs.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in packages:
        try:
            installed = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:  # `pip check` below tells if it is one that is needed
            continue
        for file in installed.files or ():
            original = Path(str(installed.locate_file(file)))
            if ".." not in file.parts and original.is_file():
                _link(original, site / file)
    pip("--python", str(folder / "bin/python"), "install", "--no-deps", "--no-index", str(wheel))
    pip("--python", str(folder / "bin/python"), "check")
    return folder / "bin"


def pip(*arguments: str) -> None:
    """Runs pip of this environment; what it says is shown when it fails."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def _link(original: Path, copy: Path) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    if copy.exists():  # a file of a namespace that two packages bring
        return
    try:
        os.link(original, copy)
    except OSError:  # another file system, or one without hard links
        copy.symlink_to(original)
