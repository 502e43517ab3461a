"""A container engine on this machine: the one that answers, or one that is installed and started for the tests.

`../shared/containers/base-images.sh`, where that is, makes base images under the real names where no registry can be
reached. Root installs Debian's engine with CI=true or where that script is. Whatever is missing is a `NoEngine`.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.containers.deadline import Deadline
from tests.containers.engine import Engine, NoEngine, last_lines
from tests.deploy.deployments import ROOT

BASE_IMAGES = ROOT.parent / "shared" / "containers" / "base-images.sh"
# Its files want a real disk, and what one run made serves the next: base-images.sh keeps its engine there, too.
HOME = Path(os.environ.get("CONTAINERS_WORK", "/var/tmp/lookalike-containers"))
LOG = HOME / "dockerd.log"
_WANTED_GB = 12
_STARTED_S = 60.0


@contextlib.contextmanager
def engine_with_base_images(deadline: Deadline) -> Iterator[Engine]:
    """An engine that runs containers and has what ours start from. One that was started for it is stopped.

    Raises:
        NoEngine: containers cannot be tried here.
    """
    if (os.cpu_count() or 1) < 2:
        raise NoEngine("containers want two cores")
    has_stand_ins = BASE_IMAGES.exists() and os.geteuid() == 0
    with _daemon() as environment:
        engine = Engine(environment, has_stand_ins=has_stand_ins)
        if has_stand_ins:
            _make_base_images(engine, deadline)
        else:
            engine.pull_base_images(deadline)
        engine.check_that_it_runs_containers(deadline)
        yield engine


@contextlib.contextmanager
def _daemon() -> Iterator[dict[str, str]]:
    """What clients need in their environment to reach an engine."""
    own = {"DOCKER_HOST": f"unix://{HOME}/docker.sock"}
    for environment in ({}, own):
        if _answers(environment):
            yield environment
            return
    if os.geteuid() != 0 or not (os.environ.get("CI") == "true" or BASE_IMAGES.exists()):
        raise NoEngine("no container engine answers; with CI=true and as root this would install and start one")
    HOME.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(HOME).free < _WANTED_GB * 1e9:
        raise NoEngine(f"images want {_WANTED_GB} GB of free disk in {HOME}")
    _install()
    with _started(own):
        yield own


def _install() -> None:
    if shutil.which("dockerd") and shutil.which("iptables"):
        return
    if not shutil.which("apt-get"):
        raise NoEngine("no container engine is here, and no apt-get to install one with")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = "apt-get update -qq && apt-get install -y -qq --no-install-recommends docker.io iptables"
    try:
        subprocess.run(["sh", "-c", install], check=True, capture_output=True, text=True, env=environment, timeout=240)
    except subprocess.CalledProcessError as error:
        raise NoEngine(f"Debian's engine cannot be installed: {last_lines(error.stdout + error.stderr)}") from error
    except subprocess.TimeoutExpired as error:
        raise NoEngine("Debian's engine was not installed within 240 s") from error


@contextlib.contextmanager
def _started(environment: dict[str, str]) -> Iterator[None]:
    (HOME / "docker.pid").unlink(missing_ok=True)
    folders = ["--data-root", f"{HOME}/data", "--exec-root", f"{HOME}/exec", "--pidfile", f"{HOME}/docker.pid"]
    command = ["dockerd", *folders, "-H", environment["DOCKER_HOST"]]
    with LOG.open("wb") as log:
        daemon = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        began = time.monotonic()
        while not _answers(environment):
            if daemon.poll() is not None or time.monotonic() - began > _STARTED_S:
                raise NoEngine(f"this kernel runs no engine: {last_lines(LOG.read_text(errors='replace'))}")
            time.sleep(0.5)
        yield
    finally:
        daemon.terminate()  # it stops what runs
        try:
            daemon.wait(timeout=60)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def _answers(environment: dict[str, str]) -> bool:
    if not shutil.which("docker"):
        return False
    try:
        asked = subprocess.run(["docker", "info"], capture_output=True, env={**os.environ, **environment}, timeout=20)
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0


def _make_base_images(engine: Engine, deadline: Deadline) -> None:
    # Into a file: what the script might leave running would keep a pipe open for ever.
    with tempfile.TemporaryFile("w+", errors="replace") as told:
        environment = {**engine.environment, "CONTAINERS_WORK": str(HOME)}
        making = subprocess.Popen(
            ["bash", str(BASE_IMAGES), str(ROOT)],
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            status: object = making.wait(timeout=deadline.left_s())
        except subprocess.TimeoutExpired:
            os.killpg(making.pid, signal.SIGKILL)
            status = f"none after {deadline.seconds:.0f} s"
        told.seek(0)
        if status != 0:
            raise NoEngine(f"the base images cannot be made (status {status}): {last_lines(told.read())}")
