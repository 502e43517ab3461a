"""Every page can be read by a screen reader and by tired eyes: names, headings, contrast."""

import pytest

from tests.e2e.pages.conftest import until

pytestmark = pytest.mark.browser

PAGES = (
    "/",
    "/?id={id}",
    "/gallery",
    "/images/{id}",
    "/add",
    "/unlabelled",
    "/trash",
    "/duplicates",
    "/coverage",
    "/jobs",
    "/models",
    "/status",
    "/nothing",
)

# Text against the nearest opaque background behind it, by WCAG 2.2's formula. Text over photos has its own plate.
FAINT_TEXT = """
const channels = colour => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const luminance = rgb => {
  const [r, g, b] = rgb.slice(0, 3).map(c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = element => {
  for (let each = element; each; each = each.parentElement) {
    const colour = channels(getComputedStyle(each).backgroundColor);
    if (colour[3] > 200) return colour;
  }
  return [255, 255, 255, 255];
};
const faint = [];
for (const element of document.querySelectorAll('body *')) {
  const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
  if (!own || !element.checkVisibility({opacityProperty: true}) || element.closest('.visually-hidden, .skip')) continue;
  const style = getComputedStyle(element);
  const [a, b] = [luminance(channels(style.color)), luminance(behind(element))].sort((x, y) => y - x);
  const isLarge = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < (isLarge ? 3 : 4.5)) faint.push(`${ratio.toFixed(2)}: ${element.outerHTML.slice(0, 120)}`);
}
return faint;
"""


@pytest.fixture(params=[False, True], ids=["light", "dark"], scope="function")
def pages(request, portal, open_browser):
    """Opens each page in turn."""
    browser = open_browser(dark=request.param)
    id = portal.client.images(limit=1)[0][0].id

    def each():
        for path in PAGES:
            browser.get(portal.address + path.format(id=id))
            until(browser, "document.readyState === 'complete'")
            yield path, browser

    return each


def test_text_stands_out_from_what_is_behind_it(pages):
    for path, browser in pages():
        assert browser.execute_script(FAINT_TEXT) == [], path


def test_whatever_can_be_focused_has_a_name(portal, open_browser):
    browser = open_browser()
    id = portal.client.images(limit=1)[0][0].id
    for path in PAGES:
        browser.get(portal.address + path.format(id=id))
        until(browser, "document.readyState === 'complete'")
        nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        for node in nodes:
            properties = {each["name"]: each["value"].get("value") for each in node.get("properties", [])}
            role = node.get("role", {}).get("value")
            if properties.get("focusable") and role not in ("RootWebArea", "dialog") and not node.get("ignored"):
                assert node.get("name", {}).get("value", "").strip(), (path, node)


def test_pages_have_one_first_heading_a_language_and_ids_of_their_own(portal, open_browser):
    browser = open_browser()
    id = portal.client.images(limit=1)[0][0].id
    for path in PAGES:
        browser.get(portal.address + path.format(id=id))
        facts = browser.execute_script(
            """const ids = [...document.querySelectorAll('[id]')].map(each => each.id);
            return {
              headings: [...document.querySelectorAll('h1')].filter(each => each.checkVisibility()).length,
              language: document.documentElement.lang,
              title: document.title,
              twice: ids.filter((id, at) => ids.indexOf(id) !== at),
              without: [...document.images].filter(each => !each.hasAttribute('alt')).length,
            }"""
        )
        assert facts["headings"] == 1, path
        assert facts["language"] == "en"
        assert "Lookalike" in facts["title"]
        assert facts["twice"] == []
        assert facts["without"] == 0
