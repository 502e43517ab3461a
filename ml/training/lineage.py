"""Where a model comes from: data, settings, code and machine, as plain JSON that is stored with it."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from ml import cores
from ml.data import seen_photos
from ml.data.datasets import Dataset


def of(config: dict[str, Any], data: Dataset) -> dict[str, Any]:
    """The lineage of a model trained with this config on this data."""
    return {
        "config": config,
        "data": {
            "name": data.name,
            "fingerprint": data.fingerprint,
            "images": len(data),
            "classes": len(data.classes),
            "left_out": len(data.left_out),
            "photos": seen_photos.packed(data.sha256),
            "class_names": seen_photos.packed_names(data.classes),
        },
        "seed": config.get("seed"),
        "code": {"version": _version("lookalike"), "commit": commit()},
        "libraries": {name: _version(name) for name in ("torch", "timm", "torchvision")},
        "machine": {"cores": cores.available(), "device": device_name(), "system": platform.system()},
    }


def commit() -> str | None:
    """The commit of a checkout that this code runs from, with a + when files have changed; None when installed."""
    folder = Path(__file__).parents[1]
    try:
        head = _git(folder, "rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def device_name() -> str:
    """The GPU's name, or that of the processor."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in _lines(cpuinfo) if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _git(folder: Path, *arguments: str) -> str:
    # Only a checkout of Lookalike itself counts, not a repository that an environment happens to lie in.
    if not (folder.parent / ".git").exists():
        raise FileNotFoundError(folder)
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
