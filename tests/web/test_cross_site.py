"""What other sites make a browser send changes nothing, and what they read is nothing."""

import pytest

URL = "/api/v1/search"


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
    ],
)
@pytest.mark.parametrize("method, path", [("POST", URL), ("DELETE", "/api/v1/images/{id}"), ("POST", "/images")])
def test_a_request_of_another_site_is_refused(browser, red, headers, method, path):
    answer = browser.open(path.format(id=red), method=method, headers=headers, json={"id": red})
    assert answer.status_code == 403
    assert browser.get(f"/api/v1/images/{red}").status_code == 200


@pytest.mark.parametrize(
    "headers", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Origin": "http://localhost"}]
)
def test_our_own_pages_and_programs_are_not(browser, red, headers):
    assert browser.post(URL, json={"id": red}, headers=headers).status_code == 200


@pytest.mark.parametrize("origin, status", [("https://localhost", 200), ("http://localhost", 403)])
def test_behind_tls_a_page_of_the_same_name_without_it_is_another_site(browser, red, origin, status):
    sent = browser.post(URL, json={"id": red}, headers={"Origin": origin}, base_url="https://localhost")
    assert sent.status_code == status


def test_another_site_may_link_to_us(browser):
    assert browser.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/add", "/images", "/sign-in", "/sign-out"])
def test_a_form_without_its_token_is_refused(browser, path):
    answer = browser.post(path, data={"action": "delete"})
    assert answer.status_code == 400
    assert "this form was out of date" in answer.text


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", ""]
)
def test_without_tokens_only_loopback_names_are_answered(browser, host):
    for path in ("/", "/api/v1/labels", "/health/live"):
        assert browser.get(path, headers={"Host": host}).status_code == 400


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:1234", "[::1]:8000"])
def test_loopback_names_are_answered_on_every_port(browser, host):
    assert browser.get("/api/v1/labels", headers={"Host": host}).status_code == 200
