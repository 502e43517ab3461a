"""Photos without a label and pages of labels, in a real browser over the real system."""

import os
import signal

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.e2e.pages.conftest import keep_screenshot, until

pytestmark = pytest.mark.browser

READY = "document.getElementById('main').dataset.ready"


@pytest.fixture
def nameless(portal):
    """Three photos of one product, their labels taken away; they get them back."""
    label = portal.photo(0).parent.name
    ids = [image.id for image in portal.client.images(label=label)[0]][:3]
    portal.client.label(ids, None)
    yield label, ids
    portal.client.label(ids, label)


def labels_of(portal, ids):
    return [portal.client.image(id).label for id in ids]


def go(browser, address):
    browser.get(address)
    until(browser, READY)


def queued(browser):
    return browser.execute_script("return [...document.querySelectorAll('[name=ids]')].map(each => each.value)")


def until_in_group(browser, portal, id):
    """Skips groups until this photo is shown: other tests may have left photos without a label."""
    go(browser, f"{portal.address}/unlabelled")
    while id not in queued(browser):
        browser.find_element(By.CSS_SELECTOR, "a[rel=next]").click()
        until(browser, READY)


def test_enter_confirms_a_guess_and_undo_takes_it_back(portal, browser, nameless):
    label, ids = nameless
    until_in_group(browser, portal, ids[0])
    field = browser.switch_to.active_element
    assert field.get_attribute("id") == "label"
    assert field.get_attribute("value") == label
    shown = queued(browser)
    keep_screenshot(browser, "unlabelled")
    field.send_keys(Keys.ENTER)
    until(browser, f"{READY} && document.querySelector('.toast')")
    assert labels_of(portal, [id for id in ids if id in shown]) == [label] * len([id for id in ids if id in shown])
    browser.find_element(By.CSS_SELECTOR, ".toast [data-undo]").click()
    until(
        browser,
        f"{READY} && ![...document.querySelectorAll('.toast')].some(each => each.textContent.includes('labelled'))",
    )
    assert labels_of(portal, ids) == [None, None, None]


def test_a_photo_that_another_tab_has_labelled_keeps_its_label(portal, browser, nameless):
    label, ids = nameless
    until_in_group(browser, portal, ids[0])
    shown = [id for id in queued(browser) if id in ids]
    portal.client.label([ids[0]], "another tab's")
    browser.find_element(By.ID, "label").send_keys(Keys.ENTER)
    until(browser, f"{READY} && document.querySelector('.toast')")
    assert labels_of(portal, shown) == ["another tab's" if id == ids[0] else label for id in shown]


def test_a_label_written_in_another_way_is_asked_about(portal, browser, nameless):
    label, ids = nameless
    until_in_group(browser, portal, ids[0])
    field = browser.find_element(By.ID, "label")
    field.clear()
    field.send_keys(label.replace("-", "  ").upper())
    until(browser, f"document.querySelector('.did-you-mean button')?.textContent === '{label}'")
    field.send_keys(Keys.TAB, Keys.ENTER)
    until(browser, "!document.querySelector('.did-you-mean')")
    assert field.get_attribute("value") == label


def test_a_labels_page_shows_what_does_not_belong_and_relabels_it(portal, browser, nameless):
    label, ids = nameless
    other = portal.photo(-1).parent.name
    portal.client.label(ids[:1], other)
    go(browser, f"{portal.address}/label?name={other}")
    card = f"#chosen [data-id='{ids[0]}']"
    assert browser.find_element(By.CSS_SELECTOR, f"{card} .name").text.startswith(f"more like {label}"[:12])
    browser.find_element(By.CSS_SELECTOR, f"{card} [name=ids]").send_keys(Keys.SPACE)
    keep_screenshot(browser, "label")
    browser.find_element(By.ID, "new-label").send_keys(label, Keys.ENTER)
    until(browser, f"{READY} && document.querySelector('.toast')")
    assert labels_of(portal, ids[:1]) == [label]


def test_a_worker_that_is_killed_costs_no_label(portal, browser, nameless):
    label, ids = nameless
    until_in_group(browser, portal, ids[0])
    shown = [id for id in queued(browser) if id in ids]
    os.kill(portal.client.status().workers[0].pid, signal.SIGKILL)  # its supervisor starts another one
    browser.find_element(By.ID, "label").send_keys(Keys.ENTER)
    until(browser, f"{READY} && document.querySelector('.toast')", timeout_s=60)
    browser.get_log("browser")  # the browser itself notes each 503
    assert labels_of(portal, shown) == [label] * len(shown)
