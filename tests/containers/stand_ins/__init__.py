"""What stands in, beside the base images of ../shared/containers, for images that no registry gives here."""

import re
from pathlib import Path

from tests.containers.deadline import Deadline
from tests.containers.engine import VERSION, Engine
from tests.deploy.deployments import ROOT

COMPOSE_FILE = Path(__file__).parent / "compose.yml"
CADDY = "caddy:2.10.2-alpine"


def build(engine: Engine, deadline: Deadline) -> None:
    """Builds them; a worker's image, which Qdrant's stands on, is there.

    Raises:
        NoEngine: packages cannot be had, or not in the time that there is.
    """
    edge = re.search(r"^qdrant-edge-py==\S+$", (ROOT / "constraints.txt").read_text("utf-8"), re.M)
    assert edge
    versions = ("--build-arg", f"WORKER=lookalike-worker:{VERSION}", "--build-arg", f"EDGE={edge[0]}")
    _build(engine, deadline, "qdrant", "lookalike-stand-in-qdrant", *versions)
    if not engine.has(CADDY):
        _build(engine, deadline, "caddy", CADDY)


def old_caddyfile() -> str:
    """Ours, for the Caddy of Debian, which knows no buffers."""
    caddyfile = (ROOT / "deploy/docker/Caddyfile").read_text()
    return "\n".join(line for line in caddyfile.splitlines() if "_buffers" not in line) + "\n"


def _build(engine: Engine, deadline: Deadline, name: str, image: str, *arguments: str) -> None:
    dockerfile = Path(__file__).parent / f"{name}.Dockerfile"
    engine.make(image, deadline, "-f", str(dockerfile), *arguments, str(dockerfile.parent))
