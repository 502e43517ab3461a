"""Our Caddyfile at work: the real Caddy ends TLS before a real portal, adapted in ports and addresses alone."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
import requests
from requests.adapters import HTTPAdapter

from tests.deploy.deployments import ROOT, caddy
from tests.processes import free_port, listens, portal_process, wait_for

SECRET = "a-secret-that-a-machine-made-7f3d"
NEEDS_ADDRESSES = pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is this machine's on Linux alone")


@dataclass(frozen=True)
class Site:
    """What a visitor can reach, and what the operator trusts: the authority of Caddy's own certificate."""

    http: str
    https: str
    portal: str  # which no visitor reaches in a deployment
    authority: Path


class _From(HTTPAdapter):
    """Connects from one address of this machine, as if from another one."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, source_address=(self._address, 0), **options)


@pytest.fixture(scope="module")
def site(queue_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A portal with a token, whose trusted proxy is named by its host as in the compose file, behind Caddy."""
    folder = tmp_path_factory.mktemp("tls")
    own = {"LOOKALIKE_HOME": str(folder / "home"), "LOOKALIKE_REDIS_URL": queue_url}
    own |= {"LOOKALIKE_API_TOKENS": f"anna:admin:{SECRET}", "FORWARDED_ALLOW_IPS": "localhost"}
    with redis.Redis.from_url(queue_url) as queue, portal_process(own) as portal:
        queue.flushdb()
        with _caddy(portal, folder) as site:
            wait_for(lambda: "Secure" in _visitor(site).get(f"{site.https}/sign-in").headers["Set-Cookie"])
            yield site


@pytest.fixture(autouse=True)
def _without_earlier_guesses(queue_url: str) -> None:
    with redis.Redis.from_url(queue_url) as queue:
        queue.flushdb()


@contextlib.contextmanager
def _caddy(portal: str, folder: Path) -> Iterator[Site]:
    http, https, health = free_port(), free_port(), free_port()
    changes = {
        r"^\{\n": f"{{\n\thttp_port {http}\n\thttps_port {https}\n",
        r"^:2020 ": f":{health} ",
        r"name web$": "name localhost",
        r"port 8000$": f"port {urlsplit(portal).port}",
    }
    text = (ROOT / "deploy/docker/Caddyfile").read_text("utf-8")
    for what, by in changes.items():
        text, count = re.subn(what, by, text, flags=re.M)
        assert count == 1, what
    (folder / "Caddyfile").write_text(text)
    environment = os.environ | {"XDG_DATA_HOME": str(folder / "data"), "XDG_CONFIG_HOME": str(folder / "config")}
    environment.pop("LOOKALIKE_SITE", None)
    command = [caddy(), "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
    log = folder / "caddy.log"
    with log.open("w") as said, subprocess.Popen(command, env=environment, stderr=said) as process:
        try:
            authority = folder / "data/caddy/pki/authorities/local/root.crt"
            site = Site(f"http://localhost:{http}", f"https://localhost:{https}", portal, authority)
            wait_for(lambda: process.poll() is not None or (authority.exists() and listens(http) and _has_tls(site)))
            assert process.poll() is None, log.read_text()
            yield site
        finally:
            process.terminate()


def _has_tls(site: Site) -> bool:
    """Whether Caddy has made its certificate, which takes it a moment."""
    with contextlib.suppress(requests.ConnectionError):
        return _visitor(site).get(f"{site.https}/health/live").ok
    return False


def _visitor(site: Site, address: str | None = None) -> requests.Session:
    """A browser of somebody who trusts the certificate, at an address of this machine."""
    visitor = requests.Session()
    visitor.verify = str(site.authority)
    visitor.trust_env = False
    if address:
        visitor.mount("https://", _From(address))
        visitor.mount("http://", _From(address))
    return visitor


def _sign_in(visitor: requests.Session, site: Site) -> requests.Response:
    page = visitor.get(f"{site.https}/sign-in")
    form_token = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert form_token
    headers = {"Referer": f"{site.https}/sign-in", "Origin": site.https}  # as browsers send them
    fields = {"token": SECRET, "csrf_token": form_token[1]}
    return visitor.post(f"{site.https}/sign-in", fields, headers=headers, allow_redirects=False)


def _guesses(visitor: requests.Session, address: str, forwarded: list[str]) -> list[int]:
    """Statuses of wrong tokens that begin alike, each with what it says of where it comes from."""
    headers = [{"X-Forwarded-For": text} if text else {} for text in forwarded]
    bearer = {"Authorization": f"Bearer {SECRET[:8]}"}
    return [visitor.get(f"{address}/api/v1/labels", headers=each | bearer).status_code for each in headers]


def test_a_session_is_for_tls_alone_and_out_of_reach_of_scripts_and_other_sites(site: Site) -> None:
    visitor = _visitor(site)
    answer = _sign_in(visitor, site)
    assert answer.status_code == 302
    assert not urlsplit(answer.headers["Location"]).netloc
    said = {part.strip() for part in answer.headers["Set-Cookie"].split(";")}
    assert said >= {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"}
    assert not any(part.startswith("Domain=") for part in said)
    assert visitor.get(f"{site.https}/jobs", allow_redirects=False).status_code == 200
    # The same session is not shown to whoever listens to plain HTTP.
    plain = visitor.get(f"{site.http}/jobs", allow_redirects=False)
    assert "Cookie" not in plain.request.headers


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_plain_http_leads_to_the_same_page_by_tls(site: Site, method: str) -> None:
    answer = _visitor(site).request(method, f"{site.http}/gallery?label=a", allow_redirects=False)
    assert answer.status_code in (301, 308)
    assert answer.headers["Location"] == "https://localhost/gallery?label=a"  # at the port that deployments have
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("path", ["/sign-in", "/gallery", "/api/v1/labels", "/no-such-page", "/static/base.css"])
def test_every_answer_says_once_that_this_site_is_for_tls(site: Site, path: str) -> None:
    answer = _visitor(site).get(f"{site.https}{path}", allow_redirects=False)
    # RFC 6797, 6.1: a server sends one.
    assert answer.raw.headers.getlist("Strict-Transport-Security") == ["max-age=31536000"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_no_protocol_is_offered_whose_ports_are_not_open(site: Site) -> None:
    """The compose file publishes TCP: a browser that is told of HTTP/3 would wait for it in vain."""
    assert "h3" not in _visitor(site).get(f"{site.https}/sign-in").headers.get("Alt-Svc", "")


@NEEDS_ADDRESSES
def test_wrong_tokens_count_for_the_visitor_and_not_for_the_proxy(site: Site) -> None:
    assert _guesses(_visitor(site, "127.0.0.2"), site.https, [""] * 6) == [401] * 5 + [429]
    assert _guesses(_visitor(site, "127.0.0.3"), site.https, [""]) == [401]
    assert _sign_in(_visitor(site, "127.0.0.3"), site).status_code == 302


@NEEDS_ADDRESSES
def test_what_a_visitor_says_of_an_address_is_not_believed(site: Site) -> None:
    made_up = [f"203.0.113.{number}" for number in range(6)]
    assert _guesses(_visitor(site, "127.0.0.2"), site.https, made_up) == [401] * 5 + [429]
    # Who goes round the proxy is no proxy.
    assert _guesses(_visitor(site, "127.0.0.4"), site.portal, made_up) == [401] * 5 + [429]
    said = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
    direct = _visitor(site, "127.0.0.4").get(f"{site.portal}/sign-in", headers=said)
    assert "Secure" not in direct.headers["Set-Cookie"]


def test_neither_scheme_nor_host_is_a_visitors_word(site: Site) -> None:
    said = {
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "evil.example",
        "Forwarded": "host=evil.example;proto=http",
    }
    answer = _visitor(site).get(f"{site.https}/gallery", headers=said, allow_redirects=False)
    assert answer.status_code == 302
    assert "evil.example" not in answer.headers["Location"] + answer.text
    assert "Secure" in _visitor(site).get(f"{site.https}/sign-in", headers=said).headers["Set-Cookie"]


def test_a_page_of_the_same_host_without_tls_is_another_site(site: Site) -> None:
    """Whoever changes what plain HTTP carries could otherwise send forms with the visitor's session."""
    visitor = _visitor(site)
    _sign_in(visitor, site)
    for origin in (site.http, site.https.replace("https://", "http://"), "null"):
        answer = visitor.post(f"{site.https}/api/v1/trash/empty", headers={"Origin": origin})
        assert answer.status_code == 403, origin
