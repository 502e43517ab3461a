"""Folders whose watcher is asked to try again what it left out.

lookalike:retry-folder:<path>    present until the watcher has taken it
"""

from typing import Any

_KEPT_S = 3600


def ask(server: Any, folder: str) -> None:
    """Asks the watcher of a folder."""
    server.set(_key(folder), "1", ex=_KEPT_S)


def is_asked(server: Any, folder: str) -> bool:
    """Whether somebody has asked since it was last taken."""
    return bool(server.exists(_key(folder)))


def take(server: Any, folder: str) -> bool:
    """Whether somebody has asked since the last call."""
    return bool(server.delete(_key(folder)))


def _key(folder: str) -> str:
    return f"lookalike:retry-folder:{folder}"
