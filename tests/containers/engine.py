"""A container engine that runs here, and images: real ones, or stand-ins where no registry can be reached.

`../shared/containers/base-images.sh`, where that is, installs and starts an engine and makes base images under the real
names. Elsewhere the engine that answers is used; root with CI=true installs the one of Debian.
"""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from tests.deploy.deployments import ROOT

BASE_IMAGES = ROOT.parent / "shared" / "containers" / "base-images.sh"
VERSION = "0.1.0"
_OWN = Path("/var/tmp/lookalike-engine")  # of an engine that is started here: its files want a real disk
_CADDY = "caddy:2.10.2-alpine"
_CADDY_STAND_IN = """
FROM debian:bookworm-slim
RUN apt-get update && apt-get install --yes --no-install-recommends caddy wget && rm -rf /var/lib/apt/lists/*
CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
"""


class NoEngine(Exception):
    """No engine runs here; the text says why."""


class Engine:
    """An engine that answers. `has_stand_ins`: base images are those of ../shared/containers."""

    def __init__(self, environment: dict[str, str], *, has_stand_ins: bool) -> None:
        # Debian's client has BuildKit built in; newer ones want the plugin buildx.
        clients = ["/usr/bin/docker", shutil.which("docker")]
        self.client = next(client for client in clients if client and Path(client).exists())
        self.environment = {**os.environ, **environment, "DOCKER_BUILDKIT": "1"}
        self.has_stand_ins = has_stand_ins
        self.build_seconds: dict[str, float] = {}

    def __call__(self, *arguments: str, timeout_s: float = 120, check: bool = True) -> str:
        """Runs `docker` with arguments. Returns what it printed."""
        command = [self.client, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment, timeout=timeout_s)
        assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def build(self, target: str) -> None:
        """Builds an image of ours as the compose file does."""
        pip_config = os.environ.get("PIP_CONFIG") or str(ROOT / "deploy/docker/pip.conf")
        started = time.monotonic()
        self(
            *("build", "--quiet", "-f", str(ROOT / "deploy/docker/Dockerfile"), "--target", target),
            *("--secret", f"id=pip_config,src={pip_config}"),
            *("--build-arg", f"TORCH_INDEX={os.environ.get('TORCH_INDEX', '')}"),
            *("-t", f"lookalike-{target}:{VERSION}", str(ROOT)),
            timeout_s=900,
        )
        self.build_seconds[target] = time.monotonic() - started

    def megabytes(self, image: str) -> float:
        """What an image takes, its base included."""
        return int(self("image", "inspect", "--format", "{{.Size}}", image)) / 1e6


def find_engine() -> Engine:
    """An engine that runs, installed and started where that is allowed.

    Raises:
        NoEngine: none does.
    """
    if BASE_IMAGES.exists() and os.geteuid() == 0:
        made = subprocess.run(["bash", str(BASE_IMAGES), str(ROOT)], capture_output=True, text=True, timeout=900)
        if made.returncode:
            raise NoEngine(_last_lines(made.stdout + made.stderr))
        exported = made.stdout.strip().removeprefix("export DOCKER_HOST=")
        engine = Engine({"DOCKER_HOST": exported} if exported else {}, has_stand_ins=True)
        if not engine("image", "ls", "--quiet", _CADDY):
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "Dockerfile").write_text(_CADDY_STAND_IN)
                engine("build", "--quiet", "-t", _CADDY, folder, timeout_s=300)
        return engine
    if shutil.which("docker") and _answers({}):
        return Engine({}, has_stand_ins=False)
    if os.environ.get("CI") != "true" or os.geteuid() != 0 or not shutil.which("apt-get"):
        raise NoEngine("no container engine runs here; with CI=true and as root this would install one")
    return Engine(_installed(), has_stand_ins=False)


def _installed() -> dict[str, str]:
    """Debian's engine, installed and started. Returns what clients need in their environment."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = "apt-get update -qq && apt-get install -y -qq --no-install-recommends docker.io iptables"
    subprocess.run(["sh", "-c", install], check=True, capture_output=True, env=environment, timeout=600)
    _OWN.mkdir(parents=True, exist_ok=True)
    client = {"DOCKER_HOST": f"unix://{_OWN}/docker.sock"}
    if _answers(client):
        return client
    command = ["dockerd", "--data-root", f"{_OWN}/data", "--exec-root", f"{_OWN}/exec", "-H", client["DOCKER_HOST"]]
    with (_OWN / "dockerd.log").open("wb") as log:
        started = subprocess.Popen(
            [*command, "--pidfile", f"{_OWN}/docker.pid"], stdout=log, stderr=log, start_new_session=True
        )
    for _ in range(120):
        if _answers(client):
            return client
        if started.poll() is not None:
            break
        time.sleep(0.5)
    raise NoEngine(f"this kernel runs no engine: {_last_lines((_OWN / 'dockerd.log').read_text())}")


def _answers(environment: dict[str, str]) -> bool:
    asked = subprocess.run(["docker", "info"], capture_output=True, env={**os.environ, **environment}, timeout=60)
    return asked.returncode == 0


def _last_lines(text: str) -> str:
    return " | ".join(text.strip().splitlines()[-5:])
