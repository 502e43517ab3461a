"""One running composition for all tests that need one; these run where they are asked for: `make test-containers`.

LOOKALIKE_TEST_CONTAINERS says with which images: `all`; `serving`, without the trainer's 7 GB; `built`, those that are
here. LOOKALIKE_TEST_CONTAINERS_S is the time for everything: what would begin after it is skipped, and that is told.
"""

import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy import demo_photos as making
from tests.conftest import SHARED
from tests.containers import machine, stand_ins
from tests.containers.composition import Composition
from tests.containers.deadline import Deadline
from tests.containers.engine import VERSION, Engine, NoEngine, last_lines

IMAGES = {"serving": ("web", "worker"), "built": ()}
ALL_IMAGES = ("web", "worker", "trainer")
_ASKED_FOR = os.environ.get("LOOKALIKE_TEST_CONTAINERS")
_SECONDS = float(os.environ.get("LOOKALIKE_TEST_CONTAINERS_S", "3600"))
_EVERYTHING = Deadline(_SECONDS)
_IMAGES_SHARE = 0.7  # of the time: what is left is for the tests

if not _ASKED_FOR:
    collect_ignore = ["test_journeys.py", "test_outages.py", "test_upkeep.py"]


def pytest_runtest_setup() -> None:
    if _EVERYTHING.is_over():
        pytest.skip(f"NOT TESTED: the {_SECONDS:.0f} s for containers are used up on this machine")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """A failure comes with the last lines that every part and the engine logged."""
    report = yield
    composition = getattr(item, "funcargs", {}).get("composition")
    if report.failed and composition:
        report.sections.append(("the parts", composition.compose("logs", "--no-color", "--tail", "40", check=False)))
        if machine.LOG.exists():
            report.sections.append(("the engine", last_lines(machine.LOG.read_text(errors="replace"), 20)))
    return report


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """An engine with our images, or the reason why none can be had on this machine, told loudly."""
    deadline = Deadline(_EVERYTHING.left_s() * _IMAGES_SHARE)
    try:
        with machine.engine_with_base_images(deadline) as found:
            for target in IMAGES.get(_ASKED_FOR or "", ALL_IMAGES):
                found.build(target, deadline)
            if found.has_stand_ins:
                stand_ins.build(found, deadline)
            yield found
    except NoEngine as error:
        pytest.skip(f"NO CONTAINER WAS TESTED: {error}")


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
    """The compose file as an operator starts it, with the proxy; without a trainer where its image is not."""
    made = Composition(engine, tmp_path_factory.mktemp("operator"), photos, has_trainer=_has_trainer(engine))
    try:
        made.up()
        yield made
    finally:
        made.keep_logs()
        made.compose("--profile", "*", "down", "--volumes", "--timeout", "5", check=False)


@pytest.fixture
def trainer(composition: Composition) -> Composition:
    """The composition, where the trainer is part of it."""
    if not composition.has_trainer:
        pytest.skip("NOT TESTED: the trainer's image, 7 GB, is not built here; make test-containers does")
    return composition


def _has_trainer(engine: Engine) -> bool:
    return _ASKED_FOR != "serving" and engine.has(f"lookalike-trainer:{VERSION}")
