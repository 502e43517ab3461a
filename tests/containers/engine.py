"""A container engine that answers, and the images of ours that it builds."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.containers.deadline import Deadline
from tests.deploy.deployments import ROOT, composed

VERSION = "0.1.0"
PYTHON = "python:3.11-slim-bookworm"


class NoEngine(Exception):
    """Containers cannot be tried here, for a reason that is none of our code's; the text says which."""


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

    def has(self, image: str) -> bool:
        """Whether an image of this name is here."""
        return bool(self("image", "ls", "--quiet", image))

    def pull_base_images(self, deadline: Deadline) -> None:
        """Fetches what the compose file starts from, its optional parts for metrics and GPUs left out.

        Raises:
            NoEngine: a registry does not answer.
        """
        services = composed()["services"].items()
        unused = ("prometheus", "grafana")
        images = {each["image"] for name, each in services if "build" not in each and name not in unused}
        for image in sorted({PYTHON, *images}):
            if not self.has(image):
                _expect(self, f"the image {image} cannot be had", deadline, "pull", "--quiet", image)

    def check_that_it_runs_containers(self, deadline: Deadline) -> None:
        """Starts a container with all that the compose file asks of a kernel.

        Raises:
            NoEngine: the kernel, or what this machine allows, does not do it.
        """
        limits = ("--cpus", "2", "--memory", "64m", "--read-only", "--cap-drop", "ALL", "--tmpfs", "/tmp:size=1m")
        rights = ("--security-opt", "no-new-privileges:true", "--publish", "127.0.0.1::8000", "--user", "10001:10001")
        what = "this machine runs no containers with limits and networks"
        _expect(self, what, deadline, "run", "--rm", *limits, *rights, PYTHON, "python", "-c", "print(1)")

    def build(self, target: str, deadline: Deadline) -> None:
        """Builds an image of ours as the compose file does.

        Raises:
            NoEngine: see `make`.
        """
        pip_config = os.environ.get("PIP_CONFIG") or str(ROOT / "deploy/docker/pip.conf")
        self.make(
            f"lookalike-{target}:{VERSION}",
            deadline,
            *("-f", str(ROOT / "deploy/docker/Dockerfile"), "--target", target),
            *("--secret", f"id=pip_config,src={pip_config}"),
            *("--build-arg", f"TORCH_INDEX={os.environ.get('TORCH_INDEX', '')}", str(ROOT)),
        )

    def make(self, image: str, deadline: Deadline, *arguments: str) -> None:
        """Builds an image of this name.

        Raises:
            NoEngine: packages cannot be had, or not in the time that there is. Any other failure is the Dockerfile's.
        """
        started = time.monotonic()
        try:
            self("build", "--progress", "plain", "-t", image, *arguments, timeout_s=deadline.left_s())
        except subprocess.TimeoutExpired as error:
            raise NoEngine(f"{image} was not built in the time that there is") from error
        except AssertionError:
            asked = "apt-get update && pip download --no-deps --dest /tmp packaging"
            what = f"{image} cannot be built: no package registry answers in a container"
            _expect(self, what, deadline, "run", "--rm", PYTHON, "sh", "-euc", asked)
            raise
        self.build_seconds[image] = round(time.monotonic() - started, 1)

    def built(self) -> list[str]:
        """The images of ours that are here: the trainer's is not always built."""
        return [image for name in ("web", "worker", "trainer") if self.has(image := f"lookalike-{name}:{VERSION}")]

    def megabytes(self, image: str) -> float:
        """What an image takes, its base included."""
        return int(self("image", "inspect", "--format", "{{.Size}}", image)) / 1e6

    def state(self, container: str) -> dict[str, Any]:
        """Docker's record of whether a container runs, is healthy and how it ended."""
        described: dict[str, Any] = json.loads(self("inspect", "--format", "{{json .State}}", container))
        return described

    def is_healthy(self, container: str) -> bool:
        """Whether the container's own health check says so."""
        return bool(self.state(container)["Health"]["Status"] == "healthy")


def _expect(engine: Engine, what: str, deadline: Deadline, *arguments: str) -> None:
    try:
        engine(*arguments, timeout_s=min(deadline.left_s(), 300))
    except (AssertionError, subprocess.TimeoutExpired) as error:
        raise NoEngine(f"{what}: {last_lines(str(error))}") from error


def last_lines(text: str, number: int = 5) -> str:
    """The end of a log, in one line."""
    return " | ".join(line.strip() for line in text.strip().splitlines()[-number:])
