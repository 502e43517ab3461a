"""The search page in a real browser over the real system."""

import base64
import hashlib
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.e2e.pages.conftest import keep_screenshot, until

pytestmark = pytest.mark.browser

SETTLED = (
    "document.getElementById('main').dataset.ready && document.getElementById('main').dataset.state === 'answer'"
    " && !document.getElementById('results-section').hasAttribute('aria-busy')"
)
HAS_RESULTS = SETTLED + " && document.querySelectorAll('#results .card').length > 0"
IMAGES_SHOWN = "[...document.images].every(i => !i.getAttribute('src') || i.closest('dialog') || i.naturalWidth > 0)"
FILE = """
const bytes = Uint8Array.from(atob(arguments[0]), c => c.charCodeAt(0));
const transfer = new DataTransfer();
transfer.items.add(new File([bytes], arguments[1], {type: arguments[2]}));
"""


@pytest.fixture
def browser(portal, browser):
    """The search page."""
    browser.get(portal.address)
    until(browser, "document.getElementById('main').dataset.ready")
    return browser


def give(browser, how: str, path: Path | None = None, data: bytes = b"", name: str = "") -> None:
    """Hands the page a file as a person would: how is 'drop' or 'paste'."""
    data, name = (path.read_bytes(), path.name) if path else (data, name)
    event = {
        "drop": "dispatchEvent(new DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true}))",
        "paste": "dispatchEvent(new ClipboardEvent('paste', {clipboardData: transfer, cancelable: true}))",
    }[how]
    browser.execute_script(FILE + event, base64.b64encode(data).decode(), name, "image/jpeg")


def choose(browser, path: Path) -> None:
    browser.find_element(By.NAME, "image").send_keys(str(path))


def results(browser) -> list[dict]:
    return browser.execute_script(
        """return [...document.querySelectorAll('#results .card')].map(card => ({
            id: card.dataset.id,
            name: card.querySelector('[data-field=name]').textContent,
            similarity: Number(card.querySelector('[data-field=similarity]').textContent),
            bar: Number(card.querySelector('[data-field=bar]').getAttribute('width')),
        }))"""
    )


def own(browser):
    """The id of the query, when the page says that it is in the gallery."""
    link = browser.find_element(By.CSS_SELECTOR, "#own a")
    return link.get_attribute("href").rsplit("/", 1)[-1] if link.is_displayed() else None


def id_of(photo):
    return hashlib.sha256(photo.read_bytes()).hexdigest()[:32]


@pytest.mark.parametrize("how", ["drop", "paste", "choose"])
def test_a_photo_shows_ranked_results_however_it_comes(portal, browser, how):
    photo = portal.photo()
    choose(browser, photo) if how == "choose" else give(browser, how, photo)
    until(browser, HAS_RESULTS)
    shown = results(browser)
    assert len(shown) == 12
    assert shown[0]["name"] == photo.parent.name
    assert own(browser) == id_of(photo)
    assert own(browser) not in {each["id"] for each in shown}
    assert shown[0]["similarity"] == max(each["similarity"] for each in shown)
    assert all(abs(each["bar"] / 100 - max(0, each["similarity"])) < 0.001 for each in shown)
    facts = browser.find_element(By.ID, "query-facts").text
    assert "ms" in facts
    assert portal.client.status().model in facts
    announced = browser.find_element(By.ID, "announcements").get_attribute("textContent")
    assert announced.startswith(f"12 results for {photo.name}, best: {photo.parent.name}")
    until(browser, IMAGES_SHOWN)
    if how == "drop":
        keep_screenshot(browser, "search-desktop")


def test_a_result_is_searched_with_and_the_back_button_leads_back(portal, browser):
    give(browser, "drop", portal.photo())
    until(browser, HAS_RESULTS)
    first = results(browser)
    second = browser.find_elements(By.CSS_SELECTOR, "#results .photo")[1]
    id = first[1]["id"]
    second.click()
    until(browser, f"location.search === '?id={id}' && {HAS_RESULTS}")
    until(browser, f"document.querySelector('#own a').pathname.endsWith('{id}')")
    browser.back()
    until(
        browser,
        f"location.search === '' && document.querySelector('#results .card')?.dataset.id === '{first[0]['id']}'",
    )
    browser.back()
    until(browser, "document.getElementById('main').dataset.state === 'start'")
    browser.forward()
    until(browser, HAS_RESULTS)
    assert [each["id"] for each in results(browser)] == [each["id"] for each in first]


def test_a_large_photo_is_made_small_before_it_travels_and_survives_reloading(portal, browser, tmp_path):
    large, other = tmp_path / "large.jpg", tmp_path / "other.jpg"
    with Image.open(portal.photo()) as image:
        image.resize((3000, 2250)).save(large, quality=98)
    with Image.open(portal.photo(20)) as image:
        image.resize((1500, 1200)).save(other)
    browser.execute_script(
        """const send = XMLHttpRequest.prototype.send;
        XMLHttpRequest.prototype.send = function (body) {
          if (body instanceof FormData && body.get("image")) window.sent = body.get("image").size;
          return send.call(this, body);
        };"""
    )
    choose(browser, large)
    until(browser, HAS_RESULTS)
    shown = results(browser)
    assert shown[0]["name"] == portal.photo().parent.name
    assert browser.execute_script("return window.sent") < large.stat().st_size / 4
    browser.refresh()
    until(browser, HAS_RESULTS)
    assert [each["id"] for each in results(browser)] == [each["id"] for each in shown]
    assert browser.find_element(By.ID, "query-name").text == "large.jpg"
    browser.find_elements(By.CSS_SELECTOR, "#results .photo")[1].click()
    until(browser, f"location.search.startsWith('?id=') && {SETTLED}")
    browser.refresh()
    browser.back()
    until(browser, f"document.getElementById('query-name').textContent === 'large.jpg' && {SETTLED}")
    choose(browser, other)
    until(browser, f"document.getElementById('query-name').textContent === 'other.jpg' && {SETTLED}")
    until(browser, "document.querySelectorAll('#queries button').length === 2")
    browser.find_element(By.CSS_SELECTOR, "#queries button").click()
    until(browser, f"document.getElementById('query-name').textContent === 'large.jpg' && {SETTLED}")
    keep_screenshot(browser, "queries")


def test_an_address_can_be_given_to_others(portal, browser):
    id = portal.matched()
    browser.get(f"{portal.address}/?id={id}&k=6")
    until(browser, HAS_RESULTS)
    assert own(browser) == id
    assert len(results(browser)) == 6
    browser.find_elements(By.CSS_SELECTOR, "#results .photo")[1].click()
    until(browser, f"location.search.includes('k=6') && !location.search.includes('{id}')")
    until(browser, HAS_RESULTS)


def test_options_search_again_with_the_same_photo(portal, browser):
    label = portal.photo(-1).parent.name
    give(browser, "drop", portal.photo())
    until(browser, HAS_RESULTS)
    until(browser, f"[...document.getElementById('label-list').options].some(o => o.value === '{label}')")
    browser.find_element(By.ID, "label").send_keys(label + Keys.ENTER)
    until(browser, f"{SETTLED} && document.querySelector('#results [data-field=name]')?.textContent === '{label}'")
    assert {each["name"] for each in results(browser)} == {label}
    browser.find_element(By.CSS_SELECTOR, "#k option:first-child").click()
    until(browser, f"{SETTLED} && location.search.includes('k=6')")
    before = len(results(browser))
    browser.execute_script("document.querySelector('[name=rerank]').click()")
    until(browser, f"location.search.includes('rerank=1') && {SETTLED}")
    assert len(results(browser)) == before


@pytest.mark.parametrize(
    "name, data, reason", [("notes.txt", b"just words", "is no image"), ("empty.jpg", b"", "is empty")]
)
def test_a_file_that_is_no_image_is_named_and_the_next_photo_works(portal, browser, name, data, reason):
    give(browser, "drop", data=data, name=name)
    until(browser, "!document.getElementById('problem').hidden")
    told = browser.find_element(By.ID, "problem").text.lower()
    assert f"{name} {reason}" in told
    give(browser, "drop", portal.photo())
    until(browser, HAS_RESULTS)
    assert not browser.find_element(By.ID, "problem").is_displayed()
    browser.get_log("browser")  # the browser itself notes the 422


def test_a_captured_frame_is_searched_with(browser):
    browser.find_element(By.CSS_SELECTOR, "[data-camera-open]").click()
    until(browser, "document.querySelector('#camera video').videoWidth > 0")
    browser.find_element(By.CSS_SELECTOR, "[data-capture]").click()
    until(browser, HAS_RESULTS)
    assert browser.find_element(By.ID, "query-name").text == "camera.jpg"
    assert not browser.find_element(By.ID, "camera").is_displayed()
    assert not browser.execute_script("return document.querySelector('#camera video').srcObject")


def test_live_searches_about_once_a_second_never_two_at_once_and_rests_while_hidden(browser):
    searches = "performance.getEntriesByType('resource').filter(e => e.name.endsWith('/api/v1/search'))"
    browser.find_element(By.CSS_SELECTOR, "[data-camera-open]").click()
    until(browser, "document.querySelector('#camera video').videoWidth > 0")
    browser.find_element(By.CSS_SELECTOR, "[data-live]").click()
    until(browser, f"{searches}.length >= 3")
    times = browser.execute_script(f"return {searches}.map(e => [e.startTime, e.responseEnd])")
    for (start, end), (following, _) in itertools.pairwise(times):
        assert following >= end
        assert following - start >= 800  # a second, less what the timer and the camera are early
    # A headless browser never hides its only window, so the page is told that it did.
    browser.execute_script(
        "Object.defineProperty(document, 'hidden', {get: () => window.pretendHidden ?? false, configurable: true});"
        "window.pretendHidden = true"
    )
    settle = "return new Promise(resolve => setTimeout(resolve, 1300))"  # a search that is under way ends in this time
    browser.execute_script(settle)
    before = browser.execute_script(f"return {searches}.length")
    browser.execute_script("return new Promise(resolve => setTimeout(resolve, 2500))")
    assert browser.execute_script(f"return {searches}.length") == before
    browser.execute_script("window.pretendHidden = false; document.dispatchEvent(new Event('visibilitychange'))")
    until(browser, f"{searches}.length > {before}")
    keep_screenshot(browser, "search-live")


def focused(browser):
    return browser.switch_to.active_element


def press(browser, key: str) -> None:
    ActionChains(browser).send_keys(key).perform()


def test_everything_can_be_done_with_the_keyboard(portal, browser):
    browser.execute_script("document.querySelector('.skip').focus()")
    for _ in range(12):
        press(browser, Keys.TAB)
        if focused(browser).get_attribute("name") == "image":
            break
    focused(browser).send_keys(str(portal.photo()))  # what the file chooser does
    until(browser, HAS_RESULTS)
    for _ in range(12):
        press(browser, Keys.TAB)
        if "photo" in (focused(browser).get_attribute("class") or ""):
            break
    outline = browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    press(browser, Keys.ARROW_RIGHT)
    id = focused(browser).find_element(By.XPATH, "./..").get_attribute("data-id")
    assert id == results(browser)[1]["id"]
    press(browser, Keys.TAB)
    press(browser, Keys.ENTER)
    until(browser, "document.getElementById('details').open")
    assert browser.execute_script("return document.getElementById('details').contains(document.activeElement)")
    press(browser, Keys.ESCAPE)
    until(browser, "!document.getElementById('details').open")
    browser.execute_script("document.querySelectorAll('#results .photo')[1].focus()")
    press(browser, Keys.ENTER)
    until(browser, f"location.search === '?id={id}' && {HAS_RESULTS}")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_on_a_phone_nothing_is_wider_than_the_screen(portal, open_browser, dark):
    browser = open_browser(360, 780, dark=dark, phone=True)
    id = portal.client.images(limit=1)[0][0].id
    for path in ("/", f"/?id={id}", "/gallery", f"/images/{id}", "/add", "/models", "/status"):
        browser.get(portal.address + path)
        until(browser, "document.readyState === 'complete'")
        width = browser.execute_script("return document.documentElement.scrollWidth")
        assert width <= 360, path
    browser.get(portal.address)
    give(browser, "drop", portal.photo())
    until(browser, f"{HAS_RESULTS} && {IMAGES_SHOWN}")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    keep_screenshot(browser, f"search-phone-{'dark' if dark else 'light'}")
    small = browser.execute_script(
        """return [...document.querySelectorAll('button, .button, select, nav a, .more')]
            .filter(each => each.checkVisibility() && each.getBoundingClientRect().height < 36)
            .map(each => each.outerHTML)"""
    )
    assert small == [], "too small for a thumb"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_matches_stand_above_a_line_and_strangers_are_folded_away(portal, open_browser, tmp_path, width, dark):
    browser = open_browser(width, 900, dark=dark, phone=width < 500)
    id = portal.matched()
    browser.get(f"{portal.address}/?id={id}&k=48")
    until(browser, HAS_RESULTS)
    verdicts = browser.execute_script(
        "return [...document.getElementById('results').children].map(each => each.dataset.verdict ?? 'line')"
    )
    line = verdicts.index("line")
    assert set(verdicts[:line]) == {"same"}
    assert "same" not in verdicts[line:]
    until(browser, IMAGES_SHOWN)
    keep_screenshot(browser, f"matches-{width}-{'dark' if dark else 'light'}")
    stranger = tmp_path / "stranger.png"
    bands = np.linspace(0, 40, 300)
    Image.fromarray((127 + 120 * np.sin(bands[:, None] ** 1.5 + bands)).astype(np.uint8)).save(stranger)
    browser.get(portal.address)
    until(browser, "document.getElementById('main').dataset.ready")
    choose(browser, stranger)
    until(browser, f"{HAS_RESULTS} && document.getElementById('query-name').textContent === 'stranger.png'")
    assert browser.find_element(By.ID, "results-title").text == "Nothing in your gallery matches"
    assert own(browser) is None
    assert not browser.find_element(By.CSS_SELECTOR, "#results .photo").is_displayed()
    keep_screenshot(browser, f"strangers-{width}-{'dark' if dark else 'light'}")
    browser.find_element(By.CSS_SELECTOR, "#strangers summary").click()
    until(browser, "document.getElementById('strangers').open")
    assert browser.find_element(By.CSS_SELECTOR, "#results .photo").is_displayed()
