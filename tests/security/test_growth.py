"""What strangers send leaves nothing behind that grows."""

import re


def test_made_up_methods_and_addresses_add_nothing_to_the_metrics(browser):
    for n in range(300):
        browser.open(f"/nothing/{n}", method=f"MADEUP{n}")
        browser.open("/api/v1/labels", method=f"MADEUP{n}")
    metrics = browser.get("/metrics").text
    assert "MADEUP" not in metrics
    assert "/nothing" not in metrics
    methods = set(re.findall(r'lookalike_http_seconds_count\{method="([^"]+)"', metrics))
    assert methods <= {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"}


def test_every_route_in_the_metrics_is_one_of_the_portal(app, browser):
    for n in range(20):
        browser.get(f"/api/v1/images/{n:032x}")
        browser.get(f"/jobs/{n}")
    rules = {str(rule) for rule in app.url_map.iter_rules()} | {"none"}
    assert set(re.findall(r'lookalike_http_seconds_count\{[^}]*route="([^"]+)"', browser.get("/metrics").text)) <= rules
