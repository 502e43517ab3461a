"""A better model from the portal alone: train on the gallery's labels, publish, and go back."""

import pytest
from selenium.webdriver.common.by import By

from tests.e2e.pages.conftest import keep_screenshot, until

pytestmark = pytest.mark.browser

STATE = "document.querySelector('[data-field=state]')?.textContent"


@pytest.mark.timeout(300)
def test_a_model_is_trained_published_and_taken_back(portal, open_browser):
    browser = open_browser()
    before = portal.client.active()
    browser.get(f"{portal.address}/models")
    assert browser.find_element(By.CSS_SELECTOR, "[aria-labelledby=train-title] p").text.startswith("From ")
    assert not browser.find_element(By.ID, "trials").is_displayed()
    browser.find_element(By.CSS_SELECTOR, ".way:has([value=sweep])").click()
    assert browser.find_element(By.ID, "trials").is_displayed()
    browser.find_element(By.CSS_SELECTOR, ".way:has([value=fast])").click()
    keep_screenshot(browser, "models")
    browser.find_element(By.CSS_SELECTOR, ".train .primary").click()
    until(browser, f"{STATE} === 'running'")
    keep_screenshot(browser, "training")
    job = browser.current_url.rsplit("/", 1)[1]
    until(browser, f"{STATE} && {STATE} !== 'running'", timeout_s=240)
    status = portal.client.job(job)
    assert status.state == "done", (status.detail, portal.client.trainings.log(job).read_text())
    trained = status.detail["model"]
    browser.find_element(By.LINK_TEXT, "Models").click()
    until(browser, "document.title.startsWith('Models')")
    answering = browser.find_element(By.XPATH, "//tr[.//*[text()='answers searches']]").text
    assert answering.startswith(trained)
    assert " %" in answering
    photo = portal.photo(3).read_bytes()
    assert portal.client.search(photo).model == trained
    keep_screenshot(browser, "models-published")
    browser.find_element(By.XPATH, f"//button[text()='Go back to {before.model}']").click()
    until(browser, f"document.querySelector('tr:has(.state)')?.textContent.includes('{before.model}')")
    assert portal.client.search(photo).model == before.model
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.mark.timeout(120)
def test_a_training_is_stopped(portal, open_browser):
    browser = open_browser(360, 780, phone=True)
    browser.get(f"{portal.address}/models")
    keep_screenshot(browser, "models-phone")
    browser.find_element(By.CSS_SELECTOR, ".train .primary").click()
    until(browser, f"{STATE} === 'running'")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    browser.find_element(By.CSS_SELECTOR, ".danger").click()
    until(browser, f"{STATE} === 'stopped'")
