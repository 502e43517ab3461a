"""The names that a portal without tokens answers to: those of loopback, whatever the port.

A site whose name is made to lead to 127.0.0.1 (DNS rebinding) counts as same-origin for a browser; its name gives it
away. Flask's TRUSTED_HOSTS does the same except for IPv6: Werkzeug 3.1 compares "[" with "[::1]".
"""

import ipaddress
from urllib.parse import urlsplit

from flask import Request
from werkzeug.exceptions import SecurityError


def refuse_untrusted_hosts(request: Request) -> None:
    """Lets the request pass if it was sent to a name of loopback.

    Raises:
        SecurityError: it was not.
    """
    if not _is_loopback(urlsplit(f"//{request.host}").hostname or ""):
        raise SecurityError(f"Host {request.host!r} is not trusted.")


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
