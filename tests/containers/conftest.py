"""One running composition for all tests in here, which run where they are asked for: `make test-containers`."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy import demo_photos as making
from tests.conftest import SHARED
from tests.containers.composition import Composition
from tests.containers.engine import Engine, NoEngine, find_engine

if not os.environ.get("LOOKALIKE_TEST_CONTAINERS"):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def engine() -> Engine:
    """An engine with our images, or the reason why none can be had on this machine, told loudly."""
    try:
        found = find_engine()
    except NoEngine as error:
        pytest.skip(f"NO CONTAINER WAS TESTED: {error}")
    if os.environ["LOOKALIKE_TEST_CONTAINERS"] != "built":  # for who runs them again
        for target in ("web", "worker", "trainer"):
            found.build(target)
    return found


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real photos where they are, else the demo photos; in a folder that the containers' user may read."""
    folder = tmp_path_factory.mktemp("photos")
    if (SHARED / "grocery").is_dir():
        for label in sorted((SHARED / "grocery" / "train").iterdir())[:24]:
            shutil.copytree(label, folder / label.name)
    else:
        making.make(folder)
    for each in (folder, *folder.parents):
        if each.stat().st_uid == os.getuid() and each != each.parent and not each.stat().st_mode & 0o001:
            each.chmod(each.stat().st_mode | 0o055)
    for each in folder.rglob("*"):
        each.chmod(0o755 if each.is_dir() else 0o644)
    return folder


@pytest.fixture(scope="session")
def composition(engine: Engine, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composition]:
    """The compose file as an operator starts it, with the proxy, and all photos indexed."""
    made = Composition(engine, tmp_path_factory.mktemp("operator"), photos)
    try:
        made.up()
        yield made
    finally:
        made.keep_logs()
        made.compose("--profile", "*", "down", "--volumes", "--timeout", "5", check=False)
