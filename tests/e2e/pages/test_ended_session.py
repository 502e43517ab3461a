"""A session that ends while a form is filled: a real browser is led to signing in and back; nothing is typed twice."""

from collections.abc import Iterator

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver

from tests.e2e.conftest import RunningStack
from tests.e2e.pages.conftest import until
from tests.processes import portal_process

pytestmark = pytest.mark.browser

SECRET = "a-secret-that-a-machine-made-7f3d"


@pytest.fixture
def closed_portal(stack: RunningStack) -> Iterator[str]:
    """The address of a further portal of the running system, which wants a token."""
    with portal_process(stack.settings.environment() | {"LOOKALIKE_API_TOKENS": f"anna:admin:{SECRET}"}) as address:
        yield address


def sign_in(browser: WebDriver) -> None:
    field = browser.find_element(By.NAME, "token")
    field.send_keys(SECRET, Keys.ENTER)
    until(browser, "!document.querySelector('[name=token]')")


def test_what_was_typed_survives_the_end_of_the_session(closed_portal, stack, open_browser) -> None:
    browser = open_browser()  # its console tells of the 401 that is looked for here
    image = stack.client.images(limit=1)[0][0]
    address = f"{closed_portal}/images/{image.id}"
    browser.get(address)
    assert "/sign-in?next=" in browser.current_url
    sign_in(browser)
    assert browser.current_url == address
    field = browser.find_element(By.ID, "label")
    field.clear()
    field.send_keys("typed in an ended session <b>")
    redis = stack.client.connection.redis
    redis.delete(*redis.scan_iter("lookalike:session:*"))
    try:
        browser.find_element(By.CSS_SELECTOR, "button[value=label]").click()
        until(browser, "document.querySelector('[name=token]')")
        assert "You are signed out" in browser.find_element(By.CSS_SELECTOR, ".sign-in [role=alert]").text
        assert stack.client.image(image.id).label == image.label
        sign_in(browser)
        assert "typed in an ended session <b>" in browser.find_element(By.ID, "main").text
        browser.find_element(By.CSS_SELECTOR, "#main button.primary").click()
        until(browser, f"location.pathname === '/images/{image.id}'")
        assert browser.find_element(By.ID, "label").get_attribute("value") == "typed in an ended session <b>"
        assert stack.client.image(image.id).label == "typed in an ended session <b>"
    finally:
        stack.client.label([image.id], image.label)
