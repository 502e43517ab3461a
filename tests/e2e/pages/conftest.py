"""A real browser in front of the real system."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from selenium.webdriver.chrome.webdriver import WebDriver

from tests.e2e.conftest import RunningStack
from tests.e2e.pages import chromium
from tests.e2e.pages.chromium import until as until
from tests.e2e.pages.lived_in import LivedIn, lived_in, register_another
from workers.client import Client

ARTIFACTS = Path(__file__).parents[3] / ".artifacts"


@dataclass(frozen=True)
class Portal:
    """A running system. `photos` are in its gallery, a folder for each label."""

    address: str
    client: Client
    photos: Path

    def photo(self, number: int = 0) -> Path:
        return sorted(self.photos.rglob("*.jpg"))[number]

    def matched(self) -> str:
        """The id of an image with matches, beside itself, and with photos that are none."""
        for image in self.client.images(limit=200)[0]:
            verdicts = [each.verdict == "same" for each in self.client.search(id=image.id, k=48).results]
            if verdicts.count(True) > 3 and not all(verdicts):
                return image.id
        raise AssertionError("no photo has matches")


@pytest.fixture
def portal(stack: RunningStack) -> Portal:
    return Portal(stack.base_url, stack.client, stack.photos)


@pytest.fixture(scope="session")
def other_model(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A registered model that answers a little differently and is not active."""
    return register_another(stack.client, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def furnished(stack: RunningStack, other_model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivedIn]:
    """Something on every page of the running system, while a module's tests run."""
    folder = tmp_path_factory.mktemp("home") / "Phone"
    folder.mkdir()
    with lived_in(stack.client, folder, other_model) as things:
        yield things


@pytest.fixture
def browser(open_browser: Callable[..., WebDriver]) -> Iterator[WebDriver]:
    """A desktop's. Its console must stay empty: a breach of the policy would be told there."""
    opened = open_browser()
    yield opened
    assert [entry for entry in opened.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.fixture
def open_browser() -> Iterator[Callable[..., WebDriver]]:
    """Opens windows of a real Chromium: see chromium.open_window. They are closed when the test ends."""
    if not chromium.is_here():
        pytest.fail(chromium.MISSING) if os.environ.get("CI") == "true" else pytest.skip(chromium.MISSING)
    with contextlib.ExitStack() as windows:

        def open_one(*size: int, **looks: bool) -> WebDriver:
            browser = chromium.open_window(*size, **looks)
            windows.callback(browser.quit)
            return browser

        yield open_one


def keep_screenshot(browser: WebDriver, name: str) -> None:
    """Leaves an image of the page for people to look at."""
    ARTIFACTS.mkdir(exist_ok=True)
    browser.save_screenshot(str(ARTIFACTS / f"{name}.png"))
