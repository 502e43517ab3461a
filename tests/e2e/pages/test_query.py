"""What a query is made of, in a real browser: a part of a photo, further photos, and photos that are not meant."""

from pathlib import Path

import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.e2e.pages.chromium import drag
from tests.e2e.pages.conftest import keep_screenshot, until
from tests.e2e.pages.test_search_page import HAS_RESULTS, browser, choose, results  # noqa: F401 - browser is a fixture
from workers.gallery import image_id

pytestmark = pytest.mark.browser

BOX = "document.querySelector('.crop-box').getBoundingClientRect()"
CHIPS = "[...document.querySelectorAll('.example')].map(each => each.dataset.kind).join()"


@pytest.fixture
def two_products(portal, tmp_path):
    """A photo with one product on its left and another one on its right."""
    left, right = portal.photo(0), portal.photo(-1)
    path = tmp_path / "two.jpg"
    both = Image.new("RGB", (1200, 600))
    for at, each in enumerate((left, right)):
        with Image.open(each) as image:
            both.paste(image.convert("RGB").resize((600, 600)), (600 * at, 0))
    both.save(path, quality=95)
    return path, left.parent.name, right.parent.name


def best(browser):  # noqa: F811
    return results(browser)[0]["name"]


def test_what_is_inside_a_box_is_searched_with_and_survives_back_and_reloading(browser, two_products):  # noqa: F811
    photo, left, right = two_products
    choose(browser, photo)
    until(browser, HAS_RESULTS)
    drag(browser, (0.52, 0.05), (0.97, 0.95))
    until(browser, f"{HAS_RESULTS} && document.querySelector('#results [data-field=name]').textContent === '{right}'")
    assert results(browser)[0]["similarity"] > 0.9
    drag(browser, (0.03, 0.05), (0.48, 0.95))
    until(browser, f"{HAS_RESULTS} && document.querySelector('#results [data-field=name]').textContent === '{left}'")
    keep_screenshot(browser, "crop")
    browser.back()
    until(browser, f"{HAS_RESULTS} && document.querySelector('#results [data-field=name]').textContent === '{right}'")
    browser.refresh()
    until(browser, f"{HAS_RESULTS} && document.querySelector('#results [data-field=name]').textContent === '{right}'")
    until(browser, f"{BOX}.width > 0")
    browser.find_element(By.CSS_SELECTOR, "[data-whole]").click()
    until(browser, f"{HAS_RESULTS} && document.querySelector('.crop').hidden")


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_bytes(b"something else")])
def test_a_file_that_is_gone_or_changed_meanwhile_is_still_searched_with(browser, two_products, change):  # noqa: F811
    photo, left, right = two_products
    choose(browser, photo)
    until(browser, HAS_RESULTS)
    change(photo)
    drag(browser, (0.52, 0.05), (0.97, 0.95))
    until(browser, f"{HAS_RESULTS} && document.querySelector('#results [data-field=name]').textContent === '{right}'")
    browser.refresh()
    until(browser, f"{HAS_RESULTS} && document.querySelector('#results [data-field=name]').textContent === '{right}'")
    drag(browser, (0.03, 0.05), (0.48, 0.95))
    until(browser, f"{HAS_RESULTS} && document.querySelector('#results [data-field=name]').textContent === '{left}'")


def test_a_box_is_suggested_and_moved_with_the_keyboard_also_on_a_photo_of_the_gallery(portal, browser):  # noqa: F811
    id = portal.client.images(limit=1)[0][0].id
    browser.get(f"{portal.address}/?id={id}")
    until(browser, HAS_RESULTS)
    opener = browser.find_element(By.CSS_SELECTOR, "[data-crop]")
    opener.send_keys(Keys.ENTER)
    until(browser, "document.activeElement.classList.contains('crop-box')")
    before = browser.execute_script(f"return {BOX}.toJSON()")
    assert before["width"] > 20
    for key in (Keys.ARROW_LEFT, Keys.ARROW_UP):
        browser.switch_to.active_element.send_keys(key)
    browser.switch_to.active_element.send_keys(Keys.SHIFT, Keys.ARROW_RIGHT)
    after = browser.execute_script(f"return {BOX}.toJSON()")
    assert after["x"] < before["x"]
    assert after["y"] < before["y"]
    assert after["width"] > before["width"]
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    until(browser, f"location.search.includes('box=') && {HAS_RESULTS}")
    shown = results(browser)
    browser.refresh()  # the server makes the same page of the address
    until(browser, HAS_RESULTS)
    assert [each["id"] for each in results(browser)] == [each["id"] for each in shown]
    until(browser, f"Math.abs({BOX}.width - {after['width']}) < 2")


def test_a_finger_draws_a_box(portal, open_browser, two_products):
    photo, _, right = two_products
    phone = open_browser(390, 844, phone=True)
    phone.get(portal.address)
    until(phone, "document.getElementById('main').dataset.ready")
    choose(phone, photo)
    until(phone, HAS_RESULTS)
    phone.find_element(By.CSS_SELECTOR, "[data-crop]").click()
    until(phone, f"{BOX}.width > 0")
    frame = phone.execute_script("return document.querySelector('.crop').getBoundingClientRect().toJSON()")
    phone.find_element(By.CSS_SELECTOR, "[data-whole]").click()
    until(phone, HAS_RESULTS)
    phone.find_element(By.CSS_SELECTOR, "[data-crop]").click()
    until(phone, f"{BOX}.width > 0")
    corner = phone.execute_script(
        "return document.querySelector('[data-corner=\"top left\"]').getBoundingClientRect().toJSON()"
    )
    other = phone.execute_script(
        "return document.querySelector('[data-corner=\"bottom right\"]').getBoundingClientRect().toJSON()"
    )
    for grip, x, y in ((other, 0.98, 0.95), (corner, 0.52, 0.05)):
        start = {"x": grip["x"] + grip["width"] / 2, "y": grip["y"] + grip["height"] / 2}
        end = {"x": frame["x"] + x * frame["width"], "y": frame["y"] + y * frame["height"]}
        for kind, at in (("touchStart", start), ("touchMove", end), ("touchEnd", None)):
            points = [at] if at else []
            phone.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        until(phone, HAS_RESULTS)
    until(phone, f"{HAS_RESULTS} && document.querySelector('#results [data-field=name]').textContent === '{right}'")
    assert phone.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    keep_screenshot(phone, "crop-phone")


def test_photos_are_added_to_a_query_and_turned_around(portal, browser):  # noqa: F811
    id = portal.matched()
    browser.get(f"{portal.address}/?id={id}&k=24")
    until(browser, HAS_RESULTS)
    other = next(each for each in results(browser) if each["name"] != results(browser)[0]["name"])
    browser.find_element(By.CSS_SELECTOR, f"[data-id='{other['id']}'] [data-example=more]").send_keys(Keys.ENTER)
    until(browser, f"location.search.includes('more={other['id']}') && {HAS_RESULTS}")
    shown = results(browser)
    assert {id, other["id"]} & {each["id"] for each in shown} == set()
    assert "they are fitted on searches with one photo" in browser.find_element(By.ID, "answer-note").text
    assert not browser.find_element(By.NAME, "rerank").is_enabled()
    keep_screenshot(browser, "several")
    browser.refresh()
    until(browser, HAS_RESULTS)
    assert browser.execute_script(f"return {CHIPS}") == "more"
    assert [each["id"] for each in results(browser)] == [each["id"] for each in shown]
    browser.find_element(By.CSS_SELECTOR, ".example [data-turn]").click()
    until(browser, f"location.search.includes('unlike={other['id']}') && {HAS_RESULTS} && {CHIPS} === 'unlike'")
    assert [each["id"] for each in results(browser)] != [each["id"] for each in shown]
    browser.back()
    until(browser, f"location.search.includes('more={other['id']}') && {HAS_RESULTS} && {CHIPS} === 'more'")
    browser.find_element(By.CSS_SELECTOR, ".example [data-remove]").send_keys(Keys.ENTER)
    until(browser, f"!location.search.includes('more=') && {HAS_RESULTS} && {CHIPS} === ''")
    until(browser, f"document.querySelector('#own a').pathname.endsWith('{id}')")


def test_further_photos_from_this_device_come_back_when_the_page_is_loaded_again(portal, browser):  # noqa: F811
    choose(browser, portal.photo(0))
    until(browser, HAS_RESULTS)
    browser.find_element(By.CSS_SELECTOR, "[data-add=unlike]").send_keys(str(portal.photo(-1)))
    until(browser, f"{HAS_RESULTS} && {CHIPS} === 'unlike'")
    shown = [each["id"] for each in results(browser)]
    browser.refresh()
    until(browser, f"{HAS_RESULTS} && {CHIPS} === 'unlike'")
    assert [each["id"] for each in results(browser)] == shown


def test_an_answer_below_a_result_is_remembered_and_never_asked_again(portal, browser):  # noqa: F811
    choose(browser, portal.photo(0))
    shown = "document.querySelectorAll('#results .card')[2]?.querySelector('.answers:not([hidden])')"
    until(browser, f"{HAS_RESULTS} && {shown}")
    other = results(browser)[2]["id"]
    card = f"[data-id='{other}']"
    browser.find_element(By.CSS_SELECTOR, f"{card} [data-same=false]").send_keys(Keys.ENTER)
    until(browser, "document.getElementById('announcements').textContent.includes('since the last training')")
    pressed = f'document.querySelector("{card} [data-same=false][aria-pressed=true]")'
    assert browser.execute_script(f"return Boolean({pressed})")
    keep_screenshot(browser, "answers")
    browser.refresh()
    until(browser, f"{HAS_RESULTS} && {pressed}")
    id = image_id(portal.photo(0).read_bytes())  # the same photo, as an image of the gallery
    browser.get(f"{portal.address}/?id={id}")
    until(browser, f"{HAS_RESULTS} && {pressed}")
    browser.get(f"{portal.address}/?id={other}")  # seen from the other side
    back = f"document.querySelector(\"[data-id='{id}'] [data-same=false][aria-pressed=true]\")"
    until(browser, f"{HAS_RESULTS} && {back}")
    browser.find_element(By.CSS_SELECTOR, f"[data-id='{id}'] [data-same=false]").click()
    until(browser, f"!({back}) && document.getElementById('announcements').textContent.startsWith('Taken back')")
    assert portal.client.answers.about(id) == {}
