"""A better model from the portal alone: train on the gallery's labels, publish, and go back."""

import pytest
from selenium.webdriver.common.by import By

from tests.e2e.pages.conftest import keep_screenshot, until
from workers.client import WAITING

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


@pytest.mark.timeout(240)
def test_one_training_at_a_time_the_next_one_waits_and_says_so(portal, open_browser):
    browser = open_browser(360, 780, phone=True)

    def start(state: str) -> str:
        browser.get(f"{portal.address}/models")
        browser.find_element(By.CSS_SELECTOR, ".train .primary").click()
        until(browser, f"{STATE} === '{state}'")
        return browser.current_url.rsplit("/", 1)[1]

    def listed(job: str) -> str:
        return browser.find_element(By.CSS_SELECTOR, f"[data-live='{job}']").text

    first = start("running")
    keep_screenshot(browser, "models-phone")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    second = start("waiting")
    assert "Another training is under way" in browser.find_element(By.ID, "toasts").text
    assert WAITING in browser.find_element(By.ID, "main").text
    browser.get(f"{portal.address}/jobs")
    assert WAITING in listed(second)
    assert WAITING not in listed(first)
    keep_screenshot(browser, "jobs-waiting")
    browser.find_element(By.CSS_SELECTOR, f"[action$='{first}/stop'] button").click()
    until(browser, f"{STATE} === 'stopped'")
    browser.back()
    begun = f"document.querySelector(\"[data-live='{second}']\")?.textContent"
    until(browser, f"{begun} && !({begun}).includes('{WAITING}')", timeout_s=60)  # by itself, on a page that follows it
    browser.find_element(By.CSS_SELECTOR, f"[action$='{second}/stop'] button").click()
    until(browser, f"{STATE} === 'stopped'")
    browser.find_element(By.XPATH, "//button[text()='Try again']").click()
    until(browser, f"{STATE} === 'running'")
    again = browser.current_url.rsplit("/", 1)[1]
    browser.find_element(By.CSS_SELECTOR, ".danger").click()
    until(browser, f"{STATE} === 'stopped'")
    assert portal.client.job(again).state == "stopped"
