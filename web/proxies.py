"""Whom the portal believes when a request says for which visitor it comes, and by which scheme."""

import contextlib
import ipaddress
import re
import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any

from werkzeug.middleware.proxy_fix import ProxyFix

_LOOK_UP_S = 10.0
_HOST = re.compile(r"[A-Za-z_][\w.-]*")

_Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


class TrustedProxies:
    """Believes X-Forwarded-For and X-Forwarded-Proto of the proxies of FORWARDED_ALLOW_IPS, and of nobody else.

    Args:
        app: what answers.
        trusted: addresses, networks or host names, apart by commas; `*` is everyone, empty nobody: on this machine
            anybody could guess tokens as if from many addresses, were loopback trusted. Names are looked up again
            every ten seconds, beside the requests, as containers come and go; one that is unknown is nobody.

    Raises:
        ValueError: it is none of these.
    """

    def __init__(self, app: _Wsgi, trusted: str) -> None:
        self._direct, self._behind = app, ProxyFix(app, x_for=1, x_proto=1)
        given = [name.strip() for name in trusted.split(",") if name.strip()]
        self._everyone = "*" in given
        self._hosts = [name for name in given if _HOST.fullmatch(name) and ":" not in name]
        self._networks = [_network(name) for name in given if name != "*" and name not in self._hosts]
        self._found: frozenset[str] = frozenset()
        if self._hosts:
            threading.Thread(target=self._look_up, name="trusted proxies", daemon=True).start()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return (self._behind if self._is_trusted(environ.get("REMOTE_ADDR", "")) else self._direct)(
            environ, start_response
        )

    def _is_trusted(self, address: str) -> bool:
        if self._everyone or address in self._found:
            return True
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)

    def _look_up(self) -> None:
        pause = threading.Event()
        while True:
            found: set[str] = set()
            for name in self._hosts:
                with contextlib.suppress(OSError):  # there is no such host now
                    found |= {str(entry[4][0]) for entry in socket.getaddrinfo(name, None)}
            self._found = frozenset(found)
            pause.wait(_LOOK_UP_S)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise ValueError(
            f"FORWARDED_ALLOW_IPS takes addresses, networks and host names, apart by commas, or *; got {text!r}"
        ) from error
