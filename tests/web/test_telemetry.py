"""One id, one log line and one measurement for each request."""

import logging
import re

import pytest

from workers.logs import request_id


def test_the_id_of_a_request_comes_back(browser):
    assert browser.get("/api/v1/labels", headers={"X-Request-ID": "from-a-proxy-1"}).headers["X-Request-ID"] == (
        "from-a-proxy-1"
    )


@pytest.mark.parametrize("given", ["", "short", "x" * 65, "with space", "a\tb-long-enough", "<script>alert(1)"])
def test_an_id_that_is_none_is_replaced_by_one_of_ours(browser, given):
    id = browser.get("/api/v1/labels", headers={"X-Request-ID": given}).headers["X-Request-ID"]
    assert re.fullmatch(r"[0-9a-f]{16}", id)


def test_the_id_is_there_while_the_workers_are_asked_and_gone_afterwards(browser, workers_side, monkeypatch):
    seen = []
    monkeypatch.setattr(workers_side, "labels", lambda: seen.append(request_id()) or [])
    answer = browser.get("/api/v1/labels")
    assert seen == [answer.headers["X-Request-ID"]]
    assert request_id() == ""


def test_refused_requests_have_an_id_and_a_log_line_too(browser, caplog):
    with caplog.at_level(logging.INFO, "web.telemetry"):
        answer = browser.post("/api/v1/search", headers={"Origin": "https://evil.example"})
    assert answer.headers["X-Request-ID"]
    assert [record.getMessage().split(" in ")[0] for record in caplog.records] == ["POST /api/v1/search 403"]


def test_the_log_does_not_tell_what_people_search_for(browser, caplog, red):
    with caplog.at_level(logging.INFO, "web.telemetry"):
        browser.get(f"/?id={red}&label=private")
    assert "private" not in caplog.text


def test_prometheus_is_told_how_long_each_route_takes(browser, red):
    browser.get(f"/api/v1/images/{red}")
    metrics = browser.get("/metrics")
    assert metrics.content_type.startswith("text/plain")
    assert 'lookalike_http_seconds_count{method="GET",route="/api/v1/images/<id>",status="200"}' in metrics.text


def test_addresses_that_do_not_exist_make_no_series_of_their_own(browser):
    for n in range(3):
        browser.get(f"/nothing/{n}")
    assert "/nothing" not in browser.get("/metrics").text


def test_the_queue_being_away_leaves_the_portals_own_metrics(portal_settings):
    from dataclasses import replace

    from web import create_app
    from workers.client import Client

    settings = replace(portal_settings, redis_url="redis://127.0.0.1:1/0")
    answer = create_app(settings, client=Client(settings)).test_client().get("/metrics")
    assert answer.status_code == 200
    assert "lookalike_http_seconds" in answer.text
