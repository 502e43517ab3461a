"""What browsers are told they may do with our answers."""

import re
from pathlib import Path

import pytest

import web

ROOT = Path(web.__file__).parent


@pytest.mark.parametrize(
    "path", ["/", "/gallery", "/add", "/status", "/nothing", "/api/v1/labels", "/static/any/icon.svg"]
)
def test_every_answer_carries_the_headers(browser, path):
    headers = browser.get(path).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "camera=(self)" in headers["Permissions-Policy"]


@pytest.mark.parametrize("path, allowed", [("/", "'self' https: http:"), ("/gallery", "'self'"), ("/add", "'self'")])
def test_the_search_page_alone_may_fetch_from_elsewhere(browser, path, allowed):
    assert f"connect-src {allowed};" in browser.get(path).headers["Content-Security-Policy"]


def test_pages_are_not_kept_by_caches(browser):
    assert browser.get("/").headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("template", sorted((ROOT / "templates").glob("*.html")), ids=lambda path: path.name)
def test_no_template_needs_inline_script_or_style(template):
    text = template.read_text()
    assert not re.search(r"<style|\sstyle=|<script(?![^>]*\ssrc=)|\son\w+=|javascript:", text)


@pytest.mark.parametrize("script", sorted((ROOT / "static" / "js").glob("*.js")), ids=lambda path: path.name)
def test_no_script_writes_html(script):
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", script.read_text()
    )
