"""Windows of a real Chromium, without a screen."""

import shutil
import time

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

MISSING = "no Chromium with chromedriver: apt-get install chromium chromium-driver"
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


def is_here() -> bool:
    """Whether this machine has a Chromium that can be driven."""
    return bool(_binary() and shutil.which("chromedriver"))


def open_window(width: int = 1280, height: int = 900, *, dark: bool = False, phone: bool = False) -> WebDriver:
    """A window of a browser of its own; whoever opens it calls `quit`.

    Args:
        width: of what is seen, in CSS pixels.
        height: likewise.
        dark: as if the system were set to dark colours.
        phone: touched, with two pixels for each CSS pixel; else there is a mouse.
    """
    options = webdriver.ChromeOptions()
    options.binary_location = _binary() or ""
    for flag in FLAGS:
        options.add_argument(flag)
    options.add_argument(f"--window-size={width},{height}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    if phone:
        metrics = {"width": width, "height": height, "pixelRatio": 2, "touch": True}
        options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
    else:  # a mouse, which a machine without a screen lacks
        options.add_argument(f"--blink-settings={MOUSE}")
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    show_as(browser, dark=dark)
    if not phone:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    return browser


def show_as(browser: WebDriver, *, dark: bool, still: bool = False) -> None:
    """Sets what pages take the system to be set to: dark or light colours, and nothing that moves."""
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    motion = {"name": "prefers-reduced-motion", "value": "reduce" if still else ""}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, motion]})


def until(browser: WebDriver, condition: str, timeout_s: float = 20) -> None:
    """Waits until a JavaScript expression is true in the page."""
    deadline = time.monotonic() + timeout_s
    while not browser.execute_script(f"return Boolean({condition})"):
        if time.monotonic() > deadline:
            raise AssertionError(f"{condition} did not become true; the console: {browser.get_log('browser')[-3:]}")
        time.sleep(0.02)


def drag(browser: WebDriver, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drags over the query photo, between two places in shares of it. The photo is 2:1 in a square frame."""
    image = browser.find_element(By.CSS_SELECTOR, "#query-photo img")
    side = image.size["width"]
    ((x1, y1), (x2, y2)) = [((x - 0.5) * side, (y - 0.5) * side / 2) for x, y in (start, end)]
    actions = ActionChains(browser, duration=50).move_to_element_with_offset(image, x1, y1).click_and_hold()
    actions.move_by_offset((x2 - x1) / 2, (y2 - y1) / 2).move_by_offset(
        (x2 - x1) / 2, (y2 - y1) / 2
    ).release().perform()


def _binary() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
