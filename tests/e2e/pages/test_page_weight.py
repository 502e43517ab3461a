"""What a visit costs on a slow line, as the browser counts it: photos aside."""

import pytest

from tests.e2e.pages.conftest import until

pytestmark = pytest.mark.browser

MOST_BYTES = 60_000  # with headers, compressed
MOST_REQUESTS = 4
PHOTOS = ("/thumbnail", "/view", "/original")
READY = "document.readyState === 'complete' && document.getElementById('main').dataset.ready"
REQUESTS = """
return [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
  .map(each => ({path: new URL(each.name).pathname, bytes: each.transferSize}));
"""


def requests(browser, address):
    """What loading a page fetched from the portal besides photos: path -> bytes, headers included."""
    browser.get(address)
    until(browser, READY)
    entries = browser.execute_script(REQUESTS)
    sent = {each["path"]: each["bytes"] for each in entries if each["bytes"]}
    return {path: count for path, count in sent.items() if not path.endswith(PHOTOS)}


@pytest.mark.parametrize("page", ["/", "/gallery", "/add"])
def test_a_first_visit_is_light_and_a_second_one_asks_for_little(portal, open_browser, page):
    browser = open_browser()
    first = requests(browser, portal.address + page)
    assert len(first) > MOST_REQUESTS, "it was none"
    assert sum(first.values()) <= MOST_BYTES, first
    browser.get("about:blank")
    second = requests(browser, portal.address + page)
    assert len(second) <= MOST_REQUESTS, second
    assert not [path for path in second if path.endswith((".css", ".js"))]
