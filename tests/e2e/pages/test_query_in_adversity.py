"""Queries from other sites, on a slow line, in two tabs, while a worker dies, and without scripts."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions
from selenium.webdriver.support.wait import WebDriverWait

from tests.e2e.conftest import RunningStack
from tests.e2e.pages.conftest import keep_screenshot, until
from tests.e2e.pages.test_search_page import HAS_RESULTS, choose, results
from tests.processes import wait_for

pytestmark = pytest.mark.browser

PROBLEM = "!document.getElementById('problem').hidden"
DROP = """
const transfer = new DataTransfer();
transfer.setData("text/uri-list", arguments[0]);
transfer.setData("text/html", arguments[1]);
dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true}));
"""


@pytest.fixture
def browser(portal, open_browser):
    browser = open_browser()
    browser.get(portal.address)
    until(browser, "document.getElementById('main').dataset.ready")
    return browser


@pytest.fixture
def site(portal) -> Iterator[str]:
    """Another site: whoever asks may read /open.jpg, nobody /closed.jpg."""
    photo = portal.photo(0).read_bytes()

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html" if self.path == "/page" else "image/jpeg")
            if self.path != "/closed.jpg":
                self.send_header("Access-Control-Allow-Origin", "*")
            self.end_headers()
            self.wfile.write(photo)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_photo_of_another_site_is_searched_with(portal, browser, site):
    browser.execute_script(
        DROP, f"{site}/page", f'<a href="{site}/page"><img alt="x" src="{site}/open.jpg?a=1&amp;b=2"></a>'
    )
    until(browser, HAS_RESULTS)
    assert browser.find_element(By.ID, "own").text == "This photo is in your gallery"
    assert browser.find_element(By.ID, "query-name").text == "open.jpg"


def test_a_photo_of_this_gallery_is_searched_with_by_its_id(portal, browser):
    id = portal.client.images(limit=1)[0][0].id
    browser.execute_script(
        DROP, f"{portal.address}/?id={id}", f'<img src="{portal.address}/api/v1/images/{id}/thumbnail">'
    )
    until(browser, f"location.search === '?id={id}' && {HAS_RESULTS}")


@pytest.mark.parametrize(
    "path, told", [("/closed.jpg", "does not let other pages read it"), ("/page", "is a link, not a photo")]
)
def test_what_cannot_be_read_says_what_to_do(browser, site, path, told):
    browser.execute_script(DROP, site + path, "")
    until(browser, f"document.getElementById('problem').textContent.includes('{told}')")
    hint = browser.find_element(By.CSS_SELECTOR, "#problem [data-field=hint]").text
    assert "drop the" in hint.lower()


def test_on_a_slow_line_the_latest_question_is_answered(portal, browser, tmp_path):
    large = tmp_path / "large.png"
    with Image.open(portal.photo(0)) as image:
        image.convert("RGB").resize((1000, 1000)).save(large)  # small enough to go as it is, large enough to take long
    browser.execute_cdp_cmd("Network.enable", {})
    line = {"offline": False, "latency": 100, "downloadThroughput": 200_000, "uploadThroughput": 40_000}
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", line)
    choose(browser, large)
    until(browser, "document.getElementById('results-title').textContent.startsWith('Sending large.png')", timeout_s=60)
    browser.find_element(By.CSS_SELECTOR, "[data-crop]").click()
    browser.find_element(By.CSS_SELECTOR, "[data-search-part]").click()
    until(browser, HAS_RESULTS, timeout_s=60)
    until(browser, "!document.querySelector('.crop').hidden")
    label = portal.photo(0).parent.name
    assert results(browser)[0]["name"] == label


@contextlib.contextmanager
def no_worker(stack: RunningStack) -> Iterator[None]:
    """Kills the worker; the one that its supervisor starts comes no further until the block ends."""
    runner = stack.parts.runner("worker")
    killed = runner.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: runner.pid not in (None, killed), 60)
    os.kill(runner.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(runner.pid, signal.SIGCONT)


def test_while_no_worker_runs_the_page_says_so_keeps_what_was_typed_and_goes_on_by_itself(portal, stack, browser):
    label = portal.photo(0).parent.name
    browser.find_element(By.NAME, "label").send_keys(label)
    choose(browser, portal.photo(0))
    until(browser, HAS_RESULTS)
    first = browser.current_window_handle
    addresses = (f"{portal.address}/?id={portal.client.images(limit=1)[0][0].id}", portal.address)
    with no_worker(stack):
        browser.find_element(By.CSS_SELECTOR, "[data-crop]").click()
        browser.find_element(By.CSS_SELECTOR, "[data-search-part]").click()
        began = time.monotonic()
        until(browser, PROBLEM)
        assert time.monotonic() - began < 6  # 1.1 s where nothing else runs
        told = browser.find_element(By.ID, "problem").text
        assert "The search engine is restarting; your" in told
        assert "photos are safe" in told
        keep_screenshot(browser, "outage")
        for address in addresses:  # what was opened meanwhile
            browser.switch_to.new_window("tab")
            browser.get(address)
            assert "photos are safe" in browser.find_element(By.ID, "main").text
            keep_screenshot(browser, "outage-opened")
        browser.switch_to.window(first)
    until(browser, f"{HAS_RESULTS} && !({PROBLEM})", timeout_s=120)
    assert {each["name"] for each in results(browser)} == {label}
    assert browser.find_element(By.NAME, "label").get_attribute("value") == label
    assert browser.execute_script("return !document.querySelector('.crop').hidden")
    for window, shown in zip(
        browser.window_handles[1:], (HAS_RESULTS, "document.querySelector('.samples')"), strict=True
    ):
        browser.switch_to.window(window)
        until(browser, shown, timeout_s=60)


def test_a_photo_deleted_while_no_worker_runs_is_gone_and_the_message_says_that_searches_follow(portal, stack, browser):
    choose(browser, portal.photo(0))
    until(browser, HAS_RESULTS)
    id = results(browser)[0]["id"]
    with no_worker(stack):
        browser.find_element(By.CSS_SELECTOR, f"[data-id='{id}'] [data-details]").click()
        until(browser, "document.getElementById('details').open && !document.querySelector('[data-delete]').hidden")
        browser.find_element(By.CSS_SELECTOR, "#details [data-delete]").click()
        until(browser, "document.querySelector('.toast')", timeout_s=30)
        told = browser.find_element(By.CSS_SELECTOR, ".toast [data-field=text]").text
        assert told == "Moved to the trash. Searches follow when the search engine is back."
        assert id not in {each["id"] for each in results(browser)}
        keep_screenshot(browser, "deleted-while-away")
        browser.find_element(By.CSS_SELECTOR, ".toast [data-undo]").click()
        until(
            browser,
            "[...document.querySelectorAll('.toast')].some(each => each.textContent.includes('Undone.'))",
            timeout_s=30,
        )
    assert portal.client.image(id).id == id


def test_two_tabs_have_queries_of_their_own(portal, browser):
    choose(browser, portal.photo(0))
    until(browser, HAS_RESULTS)
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    browser.get(portal.address)
    until(browser, "document.getElementById('main').dataset.ready")
    choose(browser, portal.photo(-1))
    until(browser, HAS_RESULTS)
    second = [each["id"] for each in results(browser)]
    browser.switch_to.window(first)
    browser.refresh()
    until(browser, HAS_RESULTS)
    assert browser.find_element(By.ID, "query-name").text == portal.photo(0).name
    assert [each["id"] for each in results(browser)] != second


@pytest.mark.parametrize("width", [1280, 800, 390])
def test_without_scripts_the_form_covers_no_result(portal, open_browser, width):
    browser = open_browser(width, 700)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get(portal.address)
    browser.find_element(By.NAME, "image").send_keys(str(portal.photo(0)))
    browser.find_element(By.CSS_SELECTOR, "button.no-script").click()
    loaded = expected_conditions.presence_of_element_located((By.CSS_SELECTOR, "#results .card"))
    WebDriverWait(browser, 20).until(loaded)
    cards = browser.find_elements(By.CSS_SELECTOR, "#results .card")
    form = browser.find_element(By.CSS_SELECTOR, "form.query").rect
    assert len(cards) == 12
    for card in (each.rect for each in cards):
        is_beside = card["x"] >= form["x"] + form["width"] or card["y"] >= form["y"] + form["height"]
        assert is_beside, (form, card)
