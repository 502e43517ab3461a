"""Labels, file names and paths are written by strangers: pages show them, and never run them."""

import dataclasses
import html
import re
from html.parser import HTMLParser
from urllib.parse import urlencode

import pytest

from tests.web.conftest import keep
from tests.web.stand_in import photo
from workers.coverage import begun, named

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


def pages(app, id, job):
    """The addresses of all pages, those included that are written tomorrow."""
    for rule in app.url_map.iter_rules():
        is_page = not rule.endpoint.startswith(("api.", "openapi.", "probes.", "static"))
        if is_page and "GET" in rule.methods and rule.endpoint != "jobs.report":  # a sweep's: tests/ml/sweeps
            yield re.sub("<[^>]*job_id>", job, str(rule)).replace("<id>", id)


@pytest.mark.parametrize("text", HOSTILE)
def test_pages_show_it_as_text(app, browser, workers_side, text):
    id = keep(workers_side, (5, 50, 150), f"folder/{text}.jpg", text)
    keep(workers_side, (200, 60, 5), f"{text}/unlabelled.jpg", None)
    gone = keep(workers_side, (20, 60, 5), f"{text}/gone.jpg", text)
    job = workers_side.index([id])
    harmless = keep(workers_side, (200, 5, 5), "x.jpg", "x")
    workers_side.delete([gone])
    workers_side.save_query(photo((1, 2, 3)), name=text)
    left_out = named([(f"{text}.txt", text)])
    found = begun(text, text, job, is_watched=True)
    workers_side.coverage.write(dataclasses.replace(found, failures=left_out, skips=left_out))
    label = f"/label?{urlencode({'name': text})}"
    for path in (*pages(app, id, job), f"/?id={id}", f"/?id={harmless}", label):
        answer = browser.get(path)
        assert answer.status_code in (200, 302, 404), path
        page = Page(answer.text)
        ours = [value for name, value in page.attributes if name == "src" and re.match(r"/static/\w+/js/", value or "")]
        assert page.tags.count("script") == len(ours) == len(set(ours)), path
        assert not [name for name, _ in page.attributes if name.startswith("on")], path
        assert not [
            value
            for name, value in page.attributes
            if name in ("href", "src", "action", "formaction") and re.match(r"\s*(javascript|data):", value or "", re.I)
        ], path
    for path in ("/gallery", "/trash", "/coverage", label):
        assert text.strip() in Page(browser.get(path).text).text, path


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
