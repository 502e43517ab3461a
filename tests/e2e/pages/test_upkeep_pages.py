"""Jobs, coverage, duplicates and previews to their end, in a real browser over the real system.

With the keyboard, Back, reloading, two tabs, a slow line and a killed worker in between.
"""

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement

from tests.e2e.conftest import Program
from tests.e2e.pages.conftest import Portal, keep_screenshot, until
from tests.e2e.pages.lived_in import until_nothing_is_built
from tests.processes import wait_for
from workers.client import folders
from workers.gallery import image_id

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

STATE = "document.querySelector('[data-field=state]')?.textContent"
READY = "document.getElementById('main').dataset.ready"
SLOW = {"offline": False, "latency": 150, "downloadThroughput": 60_000, "uploadThroughput": 30_000}
FAST = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}


def kill_worker(portal: Portal) -> None:
    """Its supervisor starts another one."""
    os.kill(portal.client.status().workers[0].pid, signal.SIGKILL)


def press(element: WebElement) -> None:
    """With the keyboard alone."""
    element.send_keys(Keys.ENTER)


def toasts(words: str) -> str:
    return f"document.getElementById('toasts').textContent.includes({words!r})"


ANSWERED_OR_AWAY = "document.readyState === 'complete' && document.querySelector('#answer, form [name=came_from]')"


def told(browser: WebDriver) -> str:
    return browser.find_element(By.ID, "main").text


@contextlib.contextmanager
def in_another_tab(browser: WebDriver, address: str) -> Iterator[None]:
    """Another tab at an address; the first one is in front again when the block ends."""
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    browser.get(address)
    yield
    browser.close()
    browser.switch_to.window(first)


class TestPreview:
    def test_a_model_is_looked_at_and_published_from_there(self, portal, other_model, browser):
        before = portal.client.active()
        query = portal.client.images(limit=1)[0][0]
        browser.get(f"{portal.address}/images/{query.id}")
        press(browser.find_element(By.XPATH, "//button[text()='Save as a query']"))
        until(browser, toasts("Saved"))
        browser.get(f"{portal.address}/models")
        assert query.name in browser.find_element(By.CSS_SELECTOR, ".chips").text
        press(browser.find_element(By.CSS_SELECTOR, f"[aria-label='Preview {other_model}']"))
        until(browser, f"{STATE} === 'running'")
        job = browser.current_url.rsplit("/", 1)[1]
        kill_worker(portal)
        until(browser, "document.querySelector('[data-live=preview] a')", timeout_s=240)
        press(browser.find_element(By.LINK_TEXT, "Look at the preview"))
        until(browser, f"location.pathname === '/jobs/{job}/preview' && document.querySelector('.compared')")
        first = browser.find_element(By.CSS_SELECTOR, ".compared")
        assert "saved query" in first.text
        assert {each.text for each in first.find_elements(By.TAG_NAME, "h3")} == {"Old", "New"}
        assert portal.client.active() == before, "nothing is switched by looking"
        browser.refresh()
        browser.back()
        until(browser, f"location.pathname === '/jobs/{job}'")
        browser.forward()
        until(browser, f"location.pathname === '/jobs/{job}/preview' && document.querySelector('.compared')")
        keep_screenshot(browser, "preview")
        with in_another_tab(browser, f"{portal.address}/jobs/{job}"):
            browser.switch_to.window(browser.window_handles[0])
            press(browser.find_element(By.XPATH, "//button[text()='Publish it']"))
            until(browser, f"location.pathname === '/jobs/{job}' && {STATE}")
            browser.switch_to.window(browser.window_handles[1])
            until(browser, f"{STATE} === 'done'", timeout_s=60)
            assert f"{other_model} answers searches now" in told(browser)
        assert portal.client.search(id=query.id).model == other_model
        browser.get(f"{portal.address}/models")
        press(browser.find_element(By.XPATH, f"//button[text()='Go back to {before.model}']"))
        until(browser, f"document.querySelector('tr:has(.state)')?.textContent.includes('{before.model}')")
        assert portal.client.search(id=query.id).model == before.model
        press(browser.find_element(By.CSS_SELECTOR, f"[aria-label='Remove the query {query.name}']"))
        until(browser, toasts("is kept no longer"))
        undo(browser)
        until(browser, f"document.querySelector('.chips')?.textContent.includes('{query.name}')")
        portal.client.queries.forget(query.id)

    def test_what_is_discarded_is_prepared_again_and_never_published_by_that(self, portal, other_model, browser):
        before = portal.client.active()
        browser.get(f"{portal.address}/models")
        press(browser.find_element(By.CSS_SELECTOR, f"[aria-label='Preview {other_model}']"))
        until(browser, f"{STATE} === 'running'")
        browser.get(f"{portal.address}/jobs")
        press(browser.find_element(By.CSS_SELECTOR, f"[aria-label^='Stop'][aria-label*='{other_model}']"))
        until(browser, f"{STATE} === 'stopped'", timeout_s=60)
        press(browser.find_element(By.XPATH, "//button[text()='Try again']"))
        until(browser, f"{STATE} === 'running'")
        again = browser.current_url.rsplit("/", 1)[1]
        until(browser, "document.querySelector('[data-live=preview] a')", timeout_s=240)
        assert portal.client.active() == before
        with in_another_tab(browser, f"{portal.address}/jobs"):
            press(browser.find_element(By.CSS_SELECTOR, f"[action$='{again}/stop'] button"))
            until(browser, f"{STATE} === 'stopped'", timeout_s=60)
        until(browser, f"{STATE} === 'stopped'")  # this tab hears of it
        until_nothing_is_built(portal.client)


@pytest.fixture
def copies(portal, tmp_path):
    """A photo that is new to the gallery, a smaller and a cropped copy of it; their ids, the best first."""
    photo = Image.effect_mandelbrot((480, 360), (-1.2, -0.6, 0.2, 0.5), 90).convert("RGB")
    with Image.open(portal.photo(5)) as image:
        photo.paste(image.resize((120, 120)), (180, 120))  # too little of it to be a copy of that one
    ids = []
    for name, each in (
        ("best.png", photo),
        ("small.png", photo.resize((240, 180))),
        ("cropped.png", photo.crop((20, 15, 470, 350))),
    ):
        each.save(tmp_path / name)
        ids.append(portal.client.add(tmp_path / name, path=f"copies/{name}", label=None).id)
    portal.client.wait(portal.client.index(ids), 60)
    yield ids
    portal.client.delete([id for id in ids if id in set(portal.client.gallery.ids())])
    portal.client.changes.empty_trash()


def group(id: str) -> str:
    return f"form.copies:has([value='{id}'])"


class TestDuplicates:
    def test_one_of_a_group_is_kept_and_the_rest_comes_back(self, portal, browser, copies):
        best = copies[0]
        page = f"{portal.address}/duplicates"
        keep = f"{group(best)} [value=keep]"
        browser.get(page)
        press(browser.find_element(By.XPATH, "//button[starts-with(text(), 'Look')]"))
        kill_worker(portal)
        until(browser, f"!{STATE} && document.querySelector({group(best)!r})", timeout_s=240)
        copied = browser.find_element(By.CSS_SELECTOR, group(best))
        members = {each.get_attribute("value") for each in copied.find_elements(By.NAME, "ids")}
        assert best in members <= set(copies)
        assert copied.find_element(By.CSS_SELECTOR, ":checked").get_attribute("value") == best, "the largest"
        keep_screenshot(browser, "duplicates")
        copied.find_element(By.CSS_SELECTOR, ":checked").send_keys(Keys.ARROW_RIGHT)
        assert browser.switch_to.active_element.get_attribute("value") in members - {best}
        with in_another_tab(browser, page):
            press(browser.find_element(By.CSS_SELECTOR, keep))
            until(browser, toasts("moved to the trash"))
            assert members & set(portal.client.gallery.ids()) == {best}
        # This tab would keep a photo that the other one has thrown away.
        press(browser.find_element(By.CSS_SELECTOR, keep))
        until(browser, toasts("no longer there"))
        assert members & set(portal.client.gallery.ids()) == {best}
        browser.get(f"{portal.address}/trash")
        for id in members - {best}:
            browser.find_element(By.CSS_SELECTOR, f"[value='{id}']").send_keys(Keys.SPACE)
        press(browser.find_element(By.CSS_SELECTOR, "[value=restore]"))
        until(browser, toasts("restored"))
        browser.get(page)
        press(browser.find_element(By.CSS_SELECTOR, keep))
        until(browser, toasts("moved to the trash"))
        undo(browser)
        until(browser, f"document.querySelector({keep!r})")
        assert members <= set(portal.client.gallery.ids())

    def test_what_are_no_duplicates_is_remembered_and_can_be_taken_back(self, portal, browser, copies):
        portal.client.wait(portal.client.duplicates.start(), 240)
        browser.get(f"{portal.address}/duplicates")
        press(browser.find_element(By.CSS_SELECTOR, f"{group(copies[0])} [value=apart]"))
        until(browser, toasts("no duplicates"))
        undo(browser)
        until(browser, f"document.querySelector({group(copies[0])!r})")
        press(browser.find_element(By.CSS_SELECTOR, f"{group(copies[0])} [value=apart]"))
        until(browser, toasts("no duplicates"))
        assert not browser.find_elements(By.CSS_SELECTOR, group(copies[0]))
        press(browser.find_element(By.XPATH, "//button[starts-with(text(), 'Look')]"))
        until(browser, f"!{STATE} && document.title.startsWith('Duplicates')", timeout_s=240)
        assert not browser.find_elements(By.CSS_SELECTOR, group(copies[0])), "it is not asked again"


class TestCoverage:
    @pytest.fixture
    def watched(self, portal, at_stack: Program, tmp_path: Path) -> Iterator[Path]:
        """A folder that the gallery follows: a photo, a torn one, and what is no photo."""
        folder = tmp_path / "phone"
        folder.mkdir()
        (folder / "whole.jpg").write_bytes(portal.photo(3).read_bytes() + b"\0")  # another photo by its bytes
        (folder / "torn.jpg").write_bytes(portal.photo(4).read_bytes()[:900])
        (folder / "notes.txt").write_text("no photo")
        watching = at_stack.start("watch", folder)
        wait_for(lambda: [each.failed for each in folders(portal.client) if each.folder == str(folder)] == [1], 60)
        yield folder
        watching.send_signal(signal.SIGINT)
        watching.wait(20)
        found = [each.id for each in portal.client.images(limit=500)[0] if each.path.startswith(str(folder))]
        portal.client.delete(found)

    def test_every_file_is_accounted_for_and_a_mended_one_is_tried_again(self, portal, browser, watched):
        browser.get(f"{portal.address}/gallery")
        press(browser.find_element(By.LINK_TEXT, "Coverage"))
        until(browser, READY)
        box = f"//li[.//strong[text()='{watched}']]"

        def figures() -> dict[str, int]:
            terms = browser.find_elements(By.XPATH, f"{box}//dl/div")
            return {name: int(count) for name, count in (each.text.split("\n") for each in terms)}

        assert figures() == {"On the disk": 3, "Indexed": 1, "Left out": 1, "Waiting": 0, "Skipped": 1}
        press(browser.find_element(By.XPATH, f"{box}//summary[contains(., 'left out')]"))
        assert str(watched / "torn.jpg") in browser.find_element(By.XPATH, box).text
        keep_screenshot(browser, "coverage")
        browser.refresh()
        shutil.copy(portal.photo(4), watched / "mended.jpg")
        (watched / "mended.jpg").write_bytes(portal.photo(4).read_bytes() + b"\0")
        (watched / "mended.jpg").replace(watched / "torn.jpg")
        press(browser.find_element(By.XPATH, f"{box}//button[text()='Try again']"))
        until(browser, toasts("tried again"))
        indexed = f"[...document.querySelectorAll('.sum')].some(each => each.dataset.live.endsWith({str(watched)!r})"
        until(browser, f"{indexed} && each.textContent.replace(/\\s+/g, ' ').includes('Indexed2 Left out0'))", 60)
        assert figures() == {"On the disk": 3, "Indexed": 2, "Left out": 0, "Waiting": 0, "Skipped": 1}

    def test_why_a_photo_is_not_here_is_answered(self, portal, browser, tmp_path):
        stranger = tmp_path / "stranger.png"
        Image.effect_mandelbrot((700, 700), (-0.8, -0.2, -0.7, -0.1), 120).convert("RGB").save(stranger)
        photo = portal.photo(7)
        id = image_id(photo.read_bytes())

        def ask(path: Path, expected: str, timeout_s: float = 20) -> None:
            until(browser, READY)
            browser.find_element(By.ID, "missed").send_keys(str(path))
            words = f"document.getElementById('answer')?.textContent.includes({expected!r})"
            until(
                browser, f"{words} && document.getElementById('answer').textContent.includes({path.name!r})", timeout_s
            )
            assert browser.execute_script("return document.activeElement.id") == "answer"

        browser.get(f"{portal.address}/coverage")
        ask(photo, "It is in the gallery")
        press(browser.find_element(By.LINK_TEXT, "Show it"))
        until(browser, f"location.pathname === '/images/{id}'")
        press(browser.find_element(By.XPATH, "//button[text()='Delete']"))
        until(browser, toasts("moved to the trash"))
        browser.get(f"{portal.address}/coverage")
        browser.execute_cdp_cmd("Network.enable", {})
        browser.execute_cdp_cmd("Network.emulateNetworkConditions", SLOW)
        ask(photo, "in the trash", 60)
        browser.execute_cdp_cmd("Network.emulateNetworkConditions", FAST)
        portal.client.restore([id])
        broken = tmp_path / "broken.jpg"
        broken.write_bytes(photo.read_bytes()[:900])
        ask(broken, "It cannot be read")
        kill_worker(portal)
        browser.find_element(By.ID, "missed").send_keys(str(stranger))
        until(browser, ANSWERED_OR_AWAY, 60)
        while "stranger.png" not in told(browser):  # the search engine was away for longer than the page waited
            assert "safe" in told(browser)
            browser.get(f"{portal.address}/coverage")
            until(browser, READY, 60)
            browser.find_element(By.ID, "missed").send_keys(str(stranger))
            until(browser, ANSWERED_OR_AWAY, 60)
        browser.get_log("browser")  # the browser itself notes each 503
        assert "It was never added" in told(browser)
        press(browser.find_element(By.LINK_TEXT, "Add it"))
        until(browser, "location.pathname === '/add'")
        browser.back()
        until(browser, "location.pathname === '/coverage'")


def undo(browser: WebDriver) -> None:
    """Presses the button of the latest message."""
    until(browser, "document.querySelector('.toast:last-child form:not([hidden])')")
    press(browser.find_element(By.CSS_SELECTOR, ".toast:last-child [data-undo]"))
