"""Styles and scripts: small, compressed, and never asked for twice."""

import re

import pytest

MOST_BYTES = 55_000  # of 60 kB; headers are the rest
GZIP = {"Accept-Encoding": "gzip, deflate, br"}


def addresses(browser, page):
    """Of every style and script of a page, those that scripts import included."""
    found, waiting = [], re.findall(r'(?:href|src)="(/static/[^"]+)"', browser.get(page).text)
    while waiting:
        address = waiting.pop()
        if address in found:
            continue
        found.append(address)
        if address.endswith(".js"):
            for name in re.findall(r'from ?"\./([^"]+)"', browser.get(address).text):
                waiting.append(f"{address.rpartition('/')[0]}/{name}")
    return found


@pytest.mark.parametrize("page", ["/", "/gallery", "/add", "/models", "/duplicates", "/coverage"])
def test_a_first_visit_costs_little(browser, red, page):
    parts = [browser.get(address, headers=GZIP) for address in addresses(browser, page)]
    assert all(part.status_code == 200 for part in parts)
    size = len(browser.get(page).data) + sum(len(part.data) for part in parts)
    assert size <= MOST_BYTES


def test_a_second_visit_asks_for_nothing_of_it(browser):
    for address in addresses(browser, "/gallery"):
        answer = browser.get(address, headers=GZIP)
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable", address
        assert answer.headers["Vary"] == "Accept-Encoding"


def test_who_reads_no_gzip_gets_it_plain(browser):
    address = addresses(browser, "/")[0]
    plain, packed = browser.get(address), browser.get(address, headers=GZIP)
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.data) < len(plain.data) / 2
    assert plain.headers["ETag"] != packed.headers["ETag"]


def test_a_page_from_before_an_update_gets_what_there_is_and_keeps_nothing(browser):
    answer = browser.get("/static/of-yesterday/css/base.css")
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-cache")
    assert browser.get(answer.request.path, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304


def test_scripts_are_sent_without_comments(browser):
    script = next(address for address in addresses(browser, "/") if address.endswith("/search.js"))
    sent = browser.get(script).text
    assert "import{" in sent
    assert "// " not in sent


@pytest.mark.parametrize("name", ["nothing.css", "../templates/base.html", "%2e%2e/server.py", "js"])
def test_nothing_else_is_served(browser, name):
    assert browser.get(f"/static/any/{name}").status_code == 404
