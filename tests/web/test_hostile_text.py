"""Labels, file names and paths are written by strangers: pages show them, and never run them."""

import html
import re
from html.parser import HTMLParser

import pytest

from tests.web.conftest import keep

HOSTILE = [
    '"><script>alert(1)</script>',
    "<img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "</textarea></template><svg onload=alert(1)>",
    "&lt;b&gt; é 日本 \u202e\u0007",
]


class Page(HTMLParser):
    """Collects the tags and attributes of a page, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("text", HOSTILE)
def test_pages_show_it_as_text(browser, workers_side, text):
    id = keep(workers_side, (5, 50, 150), f"folder/{text}.jpg", text)
    job = workers_side.index([id])
    harmless = keep(workers_side, (200, 5, 5), "x.jpg", "x")
    for path in ("/", f"/?id={id}", f"/?id={harmless}", "/gallery", f"/images/{id}", f"/jobs/{job}"):
        page = Page(browser.get(path).text)
        ours = [value for name, value in page.attributes if name == "src" and re.match(r"/static/\w+/js/", value or "")]
        assert page.tags.count("script") == len(ours) == len(set(ours))
        assert not [name for name, _ in page.attributes if name.startswith("on")]
        assert not [
            value
            for name, value in page.attributes
            if name in ("href", "src", "action") and "alert" in (value or "") and not (value or "").startswith("/")
        ]
    assert text.strip() in Page(browser.get("/gallery").text).text


@pytest.mark.parametrize("text", HOSTILE)
def test_filters_and_addresses_echo_it_as_text(browser, red, text):
    for path in ("/", "/gallery"):
        page = Page(browser.get(path, query_string={"label": text, "id": red}).text)
        assert "svg" not in page.tags or not [name for name, _ in page.attributes if name == "onload"]
        assert ("value", text.strip()) in page.attributes


@pytest.mark.parametrize("text", HOSTILE)
def test_a_refused_files_name_is_text(browser, text):
    answer = browser.post("/api/v1/search", data={"image": (__import__("io").BytesIO(b"x"), text)})
    assert answer.content_type == "application/problem+json"
    assert html.escape(text) != answer.json["detail"]  # JSON carries it as it is; pages escape it
