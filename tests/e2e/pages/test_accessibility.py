"""Every page can be used by everybody: axe-core finds nothing, on a desktop and on a phone, in light and in dark.

axe judges names, roles, headings, landmarks, contrast and the size of what is pressed, by WCAG 2.2 A and AA and its own
best practices: https://github.com/dequelabs/axe-core/blob/develop/doc/rule-descriptions.md
"""

from importlib.resources import files

import pytest

from tests.e2e.pages.conftest import until

pytestmark = pytest.mark.browser

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text()
FINDINGS = """
const done = arguments[arguments.length - 1];
axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
                   resultTypes: ['violations']}).then(
  found => done(found.violations.flatMap(rule => rule.nodes.map(node => `${rule.id}: ${node.html.slice(0, 160)}`))),
  error => done([String(error)]));
"""
TWICE = """
const ids = [...document.querySelectorAll('[id]')].map(each => each.id);
const headings = [...document.querySelectorAll('h1')].filter(each => each.checkVisibility()).length;
return ids.filter((id, at) => ids.indexOf(id) !== at).map(id => `twice: ${id}`)
  .concat(headings === 1 ? [] : [`${headings} first headings`]);
"""
LOADED = "document.readyState === 'complete' && [...document.images].every(i => i.complete || i.loading === 'lazy')"
READY = "document.getElementById('main').dataset.ready"
SIZES = ((1280, 900), (390, 844))


def pages(portal, furnished):
    """name -> address, and what is pressed there."""
    image = portal.matched()
    other = furnished.added[0]
    label = portal.client.image(image).label
    return {
        "start": ("/", None),
        "results": (f"/?id={image}", None),
        "several photos": (f"/?id={image}&more={other}&unlike={furnished.added[-1]}", None),
        "a part": (f"/?id={image}", "[data-crop]"),
        "details": (f"/?id={image}", "#results [data-details]"),
        "gallery": ("/gallery", None),
        "gallery, one label": (f"/gallery?label={label}", None),
        "gallery, nothing": ("/gallery?text=nothing-like-it", None),
        "gallery, chosen": ("/gallery", ".wall [name=ids]"),
        "viewer": ("/gallery", ".wall [data-view]"),
        "photo": (f"/images/{image}", None),
        "label": (f"/label?name={label}", None),
        "add": ("/add", None),
        "without a label": ("/unlabelled", None),
        "trash": ("/trash", ".wall [name=ids]"),
        "duplicates": ("/duplicates", None),
        "coverage": ("/coverage", "details summary"),
        "jobs": ("/jobs", None),
        "job with failures": (f"/jobs/{furnished.failed_job}", None),
        "job with a preview": (f"/jobs/{furnished.preview_job}", None),
        "preview": (f"/jobs/{furnished.preview_job}/preview", None),
        "models": ("/models", None),
        "status": ("/status", "details summary"),
        "error": ("/nothing", None),
    }


def findings(browser):
    """What axe finds on the page as it is, at every size and in both colour schemes."""
    found = [*browser.execute_script(TWICE)]
    browser.execute_script(AXE)
    for width, height in SIZES:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for scheme in ("light", "dark"):
            wanted = {
                "prefers-color-scheme": scheme,
                "prefers-reduced-motion": "reduce",
            }  # no colour half-way to another
            features = [{"name": name, "value": value} for name, value in wanted.items()]
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
            until(browser, f"innerWidth === {width} && matchMedia('(prefers-color-scheme: {scheme})').matches")
            found += [f"at {width} px, {scheme}: {each}" for each in browser.execute_async_script(FINDINGS)]
    return found


@pytest.mark.timeout(600)
def test_axe_finds_nothing_on_any_page(portal, furnished, open_browser):
    browser = open_browser()
    found = []
    for name, (address, pressed) in pages(portal, furnished).items():
        browser.get(portal.address + address)
        until(browser, LOADED)
        if pressed:
            until(browser, READY if "details" not in pressed or "data" in pressed else "true")
            browser.execute_script("document.querySelector(arguments[0]).click()", pressed)
        found += [f"{name} {each}" for each in findings(browser)]
    assert not found, "\n".join(found)
