"""What a proxy says of a visitor is believed of the proxies that are named, and of nobody else: by the real server."""

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
import requests

from tests.processes import portal_process, wait_for
from web.proxies import TrustedProxies

SECRET = "a-secret-that-a-machine-made-7f3d"
Portal = Callable[[str | None], contextlib.AbstractContextManager[str]]


@pytest.fixture
def portal(queue: redis.Redis, queue_url: str, tmp_path: Path) -> Portal:
    """Starts portals whose trusted proxies are those given; None leaves the setting out."""

    def run(trusted: str | None) -> contextlib.AbstractContextManager[str]:
        own = {"LOOKALIKE_HOME": str(tmp_path), "LOOKALIKE_REDIS_URL": queue_url}
        own |= {"LOOKALIKE_API_TOKENS": f"anna:admin:{SECRET}"}
        return portal_process(own | ({"FORWARDED_ALLOW_IPS": trusted} if trusted is not None else {}))

    return run


def guesses(address: str, forwarded: list[str], secret: str = SECRET[:8]) -> list[int]:
    """Statuses of wrong tokens that begin alike, each as if it came from another address."""
    headers = [{"X-Forwarded-For": text, "Authorization": f"Bearer {secret}"} for text in forwarded]
    return [requests.get(f"{address}/api/v1/labels", headers=each, timeout=60).status_code for each in headers]


def signs_in_over_tls(address: str) -> bool:
    """Whether the form works for a visitor who came by TLS: forms look at more then."""
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.50"}
    page = requests.get(f"{address}/sign-in", headers=headers, timeout=60)
    form_token = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert form_token
    headers |= {"Cookie": page.headers["Set-Cookie"].split(";")[0], "Referer": f"https{address[4:]}/sign-in"}
    fields = {"token": SECRET, "csrf_token": form_token[1]}
    answer = requests.post(f"{address}/sign-in", fields, headers=headers, allow_redirects=False, timeout=60)
    return answer.status_code == 302 and "Secure" in answer.headers["Set-Cookie"]


def is_cookie_secure(address: str) -> bool:
    """Whether what the portal sets is for TLS alone, when X-Forwarded-Proto says that the visitor came by it."""
    answer = requests.get(f"{address}/sign-in", headers={"X-Forwarded-Proto": "https"}, timeout=60)
    return "Secure" in answer.headers["Set-Cookie"]


ELSEWHERE = [f"203.0.113.{number}" for number in range(8)]


@pytest.mark.parametrize("trusted", [None, "192.0.2.7, 2001:db8::/32"])
def test_whoever_is_no_trusted_proxy_cannot_guess_as_somebody_else(portal: Portal, trusted: str | None) -> None:
    with portal(trusted) as address:
        assert guesses(address, ELSEWHERE) == [401] * 5 + [429] * 3
        assert not is_cookie_secure(address)


def test_behind_a_trusted_proxy_wrong_tokens_count_for_the_visitors_address(portal: Portal) -> None:
    with portal("192.0.2.7, 127.0.0.0/8") as address:
        assert guesses(address, ELSEWHERE) == [401] * 8
        assert guesses(address, ["203.0.113.99"] * 7) == [401] * 5 + [429] * 2
        assert guesses(address, ["203.0.113.98"], SECRET)[0] not in (401, 429)
        assert is_cookie_secure(address)
        assert signs_in_over_tls(address)


def test_what_a_visitor_puts_before_a_proxys_word_and_besides_is_not_believed(portal: Portal) -> None:
    """A proxy appends the address that it sees; all before it came with the request, like other headers."""
    with portal("127.0.0.1") as address:
        assert guesses(address, [f"{made_up}, 203.0.113.9" for made_up in ELSEWHERE]) == [401] * 5 + [429] * 3
        answer = requests.get(
            f"{address}/gallery", headers={"X-Forwarded-Host": "evil.example"}, allow_redirects=False, timeout=60
        )
        assert answer.status_code == 302
        assert "evil.example" not in answer.headers["Location"] + answer.text


def test_a_proxy_may_be_named_by_its_host_and_is_looked_up_beside_requests(portal: Portal) -> None:
    with portal("no-such-host.invalid, localhost") as address:
        wait_for(lambda: is_cookie_secure(address))


def test_what_is_no_address_network_or_host_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="addresses, networks and host names, apart by commas, or"):
        TrustedProxies(lambda environ, start_response: [], "10.0.0.0/99")
