"""Adding, relabelling and deleting photos in a real browser over the real system."""

import io

import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.e2e.pages.conftest import keep_screenshot, until

pytestmark = pytest.mark.browser


@pytest.fixture
def new_photos(tmp_path):
    """A folder of photos that no gallery has seen, and a file that is none."""
    folder = tmp_path / "checkers"
    folder.mkdir()
    for n in range(5):
        image = Image.effect_mandelbrot((96, 96), (-2.0 + n / 10, -1.5, 1.0, 1.5), 40 + n).convert("RGB")
        image.save(folder / f"{n}.png")
    (folder / "notes.txt").write_text("no image")
    yield folder


def test_photos_are_added_with_progress_and_what_is_no_image_is_named(portal, browser, new_photos):
    browser.get(f"{portal.address}/add")
    until(browser, "document.getElementById('main').dataset.ready")
    browser.find_element(By.ID, "label").send_keys("fractal")
    files = "\n".join(str(path) for path in sorted(new_photos.iterdir()))
    browser.find_element(By.ID, "files").send_keys(files)
    until(browser, "document.querySelector('#progress [data-field=title]').textContent === 'Done'")
    counts = browser.find_element(By.CSS_SELECTOR, "#progress [data-field=counts]").text
    assert counts == "6 of 6: 5 added, 1 left out"
    refused = browser.find_element(By.CSS_SELECTOR, ".failures").text
    assert refused.startswith("notes.txt is no image")
    assert len(portal.client.images(label="fractal")[0]) == 5
    keep_screenshot(browser, "add")
    browser.find_element(By.ID, "files").send_keys(str(new_photos / "0.png"))
    until(browser, "document.querySelector('#progress [data-field=counts]').textContent.includes('there already')")
    portal.client.delete([image.id for image in portal.client.images(label="fractal")[0]])
    portal.client.changes.empty_trash()  # so that the next test adds them, and restores none


def test_a_folders_name_becomes_the_label(portal, browser, new_photos):
    browser.get(f"{portal.address}/add")
    until(browser, "document.getElementById('main').dataset.ready")
    (new_photos / "notes.txt").unlink()
    browser.find_element(By.ID, "folder").send_keys(str(new_photos))
    until(browser, "document.querySelector('#progress [data-field=title]').textContent === 'Done'")
    images = portal.client.images(label="checkers")[0]
    assert {image.path for image in images} == {f"checkers/{n}.png" for n in range(5)}
    portal.client.delete([image.id for image in images])


def test_an_image_is_relabelled_and_deleted_in_its_dialog(portal, browser):
    alike = []
    for side in (80, 100, 120):
        buffer = io.BytesIO()
        Image.effect_mandelbrot((side, side), (-1.5, -1.0, 0.5, 1.0), 60).convert("RGB").save(buffer, "PNG")
        alike.append(portal.client.add(buffer.getvalue(), path=f"one/of a kind {side}.png", label="before").id)
    portal.client.wait(portal.client.index(alike), 60)
    id, _, query = alike
    browser.get(f"{portal.address}/?id={query}")
    until(browser, "document.getElementById('main').dataset.ready")
    browser.execute_script(f"document.querySelector('[data-id=\"{id}\"] [data-details]').click()")
    until(browser, "document.getElementById('details').open")
    label = browser.find_element(By.ID, "details-label")
    assert label.get_attribute("value") == "before"
    keep_screenshot(browser, "details")
    label.clear()
    label.send_keys("after")
    browser.find_element(By.CSS_SELECTOR, "[data-label-form] button").click()
    until(browser, f"document.querySelector('[data-id=\"{id}\"] [data-field=name]').textContent === 'after'")
    assert portal.client.image(id).label == "after"
    undo(browser)
    until(browser, f"document.querySelector('[data-id=\"{id}\"] [data-field=name]').textContent === 'before'")
    assert portal.client.image(id).label == "before"
    browser.find_element(By.CSS_SELECTOR, "[data-remove-label]").click()
    until(browser, "document.querySelector('#toasts').textContent.includes('Label removed')")
    assert portal.client.image(id).label is None
    until(browser, "document.getElementById('details-label').value === ''")
    browser.find_element(By.CSS_SELECTOR, "[data-label-form] button").click()
    assert "choose Remove label" in browser.find_element(By.CSS_SELECTOR, "#details .error").text
    undo(browser)
    until(browser, f"document.querySelector('[data-id=\"{id}\"] [data-field=name]').textContent === 'before'")
    browser.find_element(By.CSS_SELECTOR, "[data-delete]").click()
    until(browser, f"!document.querySelector('#results [data-id=\"{id}\"]')")
    assert browser.execute_script("return document.activeElement.matches('#results .photo')")
    assert id not in {image.id for image in portal.client.images(limit=500)[0]}
    keep_screenshot(browser, "undo")
    undo(browser)
    until(browser, f"document.activeElement.closest('[data-id=\"{id}\"]')")
    assert portal.client.image(id).label == "before"
    assert id in {image.id for image in portal.client.images(limit=500)[0]}
    portal.client.delete(alike)
    browser.get(f"{portal.address}/trash")
    keep_screenshot(browser, "trash")
    browser.find_element(By.CSS_SELECTOR, f"[data-id='{id}'] .photo").click()
    assert browser.find_element(By.ID, "chosen-count").text == "1 photo chosen"
    browser.find_element(By.CSS_SELECTOR, "[value=remove]").click()
    until(browser, "document.body.textContent.includes('1 photo removed for good')")
    assert id not in portal.client.gallery.originals.ids()


def undo(browser):
    """Presses the button of the latest message."""
    until(browser, "document.querySelector('.toast:last-child form:not([hidden])')")
    browser.find_element(By.CSS_SELECTOR, ".toast:last-child [data-undo]").click()


def test_what_is_deleted_in_the_gallery_comes_back_with_one_press(portal, browser):
    before = {image.id: image for image in portal.client.images(limit=500)[0]}
    browser.get(f"{portal.address}/gallery")
    until(browser, "document.getElementById('main').dataset.ready")
    boxes = browser.find_elements(By.NAME, "ids")
    boxes[1].click()
    webdriver.ActionChains(browser).key_down(Keys.SHIFT).click(boxes[4]).key_up(Keys.SHIFT).perform()
    assert browser.find_element(By.ID, "chosen-count").text == "4 photos chosen"
    browser.find_element(By.CSS_SELECTOR, "[value=delete]").click()
    until(browser, "document.getElementById('toasts').textContent.includes('4 photos moved to the trash')")
    assert len(portal.client.images(limit=500)[0]) == len(before) - 4
    keep_screenshot(browser, "gallery-undo")
    undo(browser)
    until(browser, "!document.getElementById('toasts').textContent.includes('moved')")
    assert {image.id: image for image in portal.client.images(limit=500)[0]} == before


@pytest.fixture
def many(portal):
    """Sixty-five more photos under one label, the newest of the gallery."""
    ids = []
    for n in range(65):
        buffer = io.BytesIO()
        colour = (3 * n, 255 - 3 * n, (40 * n) % 256)
        Image.linear_gradient("L").resize((120, 90)).convert("RGB").point(lambda v, c=colour[0]: (v + c) % 256).save(
            buffer, "PNG", comment=n
        )
        data = buffer.getvalue() + bytes([n])  # bytes behind the end make it another photo
        ids.append(portal.client.add(data, path=f"many/IMG_{n:04}.png", label="many").id)
    portal.client.wait(portal.client.index(ids), 120)
    yield ids[::-1]
    portal.client.delete([id for id in ids if id in set(portal.client.gallery.ids())])
    portal.client.changes.empty_trash()


def card_ids(browser):
    return browser.execute_script("return [...document.querySelectorAll('.wall > li')].map(each => each.dataset.id)")


def viewed(browser):
    until(browser, "document.getElementById('viewer').open")
    return browser.execute_script("return history.state?.view")


@pytest.mark.timeout(180)
def test_the_gallery_goes_on_and_shows_photos_large(portal, browser, many):
    browser.get(f"{portal.address}/gallery?label=many")
    until(browser, "document.getElementById('main').dataset.ready")
    assert card_ids(browser)[:60] == many[:60], "the newest come first"
    assert "65 photos" in browser.find_element(By.TAG_NAME, "h1").text
    browser.execute_script("scrollTo(0, document.body.scrollHeight)")
    until(browser, "document.querySelectorAll('.wall > li').length === 65")
    assert card_ids(browser) == many
    browser.execute_script("scrollTo(0, document.body.scrollHeight)")
    until(browser, "location.search.includes('after=')")
    boxes = browser.find_elements(By.NAME, "ids")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", boxes[57])
    boxes[57].click()
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", boxes[62])
    webdriver.ActionChains(browser).key_down(Keys.SHIFT).click(boxes[62]).key_up(Keys.SHIFT).perform()
    assert browser.find_element(By.ID, "chosen-count").text == "6 photos chosen", "a range over two pages"
    browser.find_element(By.TAG_NAME, "body").send_keys("b")
    assert browser.execute_script("return document.activeElement.closest('.bulk') !== null"), "one key reaches the bar"
    browser.get(f"{portal.address}/gallery?text=img_00&label=many")
    until(browser, "document.getElementById('main').dataset.ready")
    browser.find_elements(By.CSS_SELECTOR, ".wall .photo")[0].click()
    assert viewed(browser) == many[0]
    until(browser, "document.querySelector('#viewer img').src.endsWith('/view')")
    keep_screenshot(browser, "viewer")
    body = browser.switch_to.active_element
    body.send_keys(Keys.ARROW_RIGHT)
    until(browser, f"history.state?.view === '{many[1]}'")
    body.send_keys(Keys.ARROW_LEFT)
    until(browser, f"history.state?.view === '{many[0]}'")
    browser.execute_script(
        "const image = document.querySelector('#viewer img');"
        "image.dispatchEvent(new PointerEvent('pointerdown', {clientX: 500, bubbles: true}));"
        "image.dispatchEvent(new PointerEvent('pointerup', {clientX: 300, bubbles: true}));"
    )
    until(browser, f"history.state?.view === '{many[1]}'")
    browser.find_element(By.CSS_SELECTOR, "#viewer [data-delete]").click()
    until(browser, f"history.state?.view === '{many[2]}'")
    undo(browser)
    until(browser, f"document.querySelector('.wall [data-id=\"{many[1]}\"]')")
    browser.back()
    until(browser, "!document.getElementById('viewer').open")
    assert "/gallery?text=img_00&label=many" in browser.current_url
    assert many[1] in portal.client.gallery.ids()
    keep_screenshot(browser, "gallery-filtered")


@pytest.mark.parametrize("width", [1280, 390])
def test_words_on_buttons_and_labels_stay_whole(portal, open_browser, width):
    browser = open_browser(width, 800, phone=width < 500)
    for path in ("/gallery", "/", f"/?id={portal.client.images(limit=1)[0][0].id}", "/add", "/trash"):
        browser.get(portal.address + path)
        broken = browser.execute_script(
            """return [...document.querySelectorAll('label, button, .button, nav a')]
              .filter(each => each.checkVisibility() && each.childElementCount === 0)
              .filter(each => /^\\S+$/.test(each.textContent.trim()))
              .filter(each => {
                const range = document.createRange();
                range.selectNodeContents(each);
                return range.getClientRects().length > 1;
              }).map(each => each.outerHTML)"""
        )
        assert broken == [], path


def test_many_images_are_labelled_at_once_in_the_gallery(portal, browser):
    name = portal.photo().parent.name
    browser.get(f"{portal.address}/gallery?label={name}")
    until(browser, "document.getElementById('main').dataset.ready")
    assert not browser.find_element(By.CSS_SELECTOR, ".bulk").is_displayed()
    boxes = browser.find_elements(By.NAME, "ids")
    for box in boxes:
        box.click()
    assert browser.find_element(By.ID, "chosen-count").text == f"{len(boxes)} photos chosen"
    keep_screenshot(browser, "gallery")
    browser.find_element(By.ID, "new-label").send_keys("renamed")
    browser.find_element(By.CSS_SELECTOR, "[value=label]").click()
    until(browser, "document.body.textContent.includes('labelled renamed')")
    images = portal.client.images(label="renamed")[0]
    assert len(images) == len(boxes)
    portal.client.label([image.id for image in images], name)
