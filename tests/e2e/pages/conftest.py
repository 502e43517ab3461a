"""A real browser in front of the real system."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.chrome.webdriver import WebDriver

from tests.e2e.conftest import RunningStack
from workers.client import Client

ARTIFACTS = Path(__file__).parents[3] / ".artifacts"
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
MOUSE = "primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4"


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


@pytest.fixture
def browser(open_browser: Callable[..., WebDriver]) -> Iterator[WebDriver]:
    """A desktop's. Its console must stay empty: a breach of the policy would be told there."""
    opened = open_browser()
    yield opened
    assert [entry for entry in opened.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.fixture
def open_browser() -> Iterator[Callable[..., WebDriver]]:
    """Opens windows of a real Chromium: width, height, dark, phone. They are closed when the test ends."""
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not binary or not driver:
        reason = "no Chromium with chromedriver: apt-get install chromium chromium-driver"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    opened: list[WebDriver] = []

    def open_one(width: int = 1280, height: int = 900, *, dark: bool = False, phone: bool = False) -> WebDriver:
        options = webdriver.ChromeOptions()
        options.binary_location = binary
        for flag in FLAGS:
            options.add_argument(flag)
        options.add_argument(f"--window-size={width},{height}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        if phone:
            metrics = {"width": width, "height": height, "pixelRatio": 2, "touch": True}
            options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
        else:  # a mouse, which a machine without a screen lacks
            options.add_argument(f"--blink-settings={MOUSE}")
        browser = webdriver.Chrome(options=options, service=Service(driver))
        opened.append(browser)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        if not phone:
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        return browser

    yield open_one
    for browser in opened:
        browser.quit()


def until(browser: WebDriver, condition: str, timeout_s: float = 20) -> None:
    """Waits until a JavaScript expression is true in the page."""
    deadline = time.monotonic() + timeout_s
    while not browser.execute_script(f"return Boolean({condition})"):
        if time.monotonic() > deadline:
            raise AssertionError(f"{condition} did not become true; the console: {browser.get_log('browser')[-3:]}")
        time.sleep(0.02)


def keep_screenshot(browser: WebDriver, name: str) -> None:
    """Leaves an image of the page for people to look at."""
    ARTIFACTS.mkdir(exist_ok=True)
    browser.save_screenshot(str(ARTIFACTS / f"{name}.png"))
