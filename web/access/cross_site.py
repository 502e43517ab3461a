"""Refuses what another site makes a visitor's browser send.

A page on the internet can make a browser post to http://127.0.0.1:8000, with the visitor's cookies or, where no token
is needed, without any. Browsers say where a request comes from in Sec-Fetch-Site and Origin, which scripts cannot
change; programs such as curl send neither. The rule is that of Go's http.CrossOriginProtection (Valsorda, 2025), which
does not know whether it is behind TLS; we do. Forms of our pages carry a token of Flask-WTF besides.
"""

from urllib.parse import urlsplit

from flask import Request
from werkzeug.exceptions import Forbidden

_SAFE = {"GET", "HEAD", "OPTIONS"}


def refuse(request: Request) -> None:
    """Lets the request pass unless it may change something and comes from another site.

    Raises:
        Forbidden: it does.
    """
    if request.method in _SAFE or not _is_foreign(request):
        return
    raise Forbidden("this request was sent by a page of another site")


def _is_foreign(request: Request) -> bool:
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("Origin")
    if origin is None:
        return False
    page = urlsplit(origin)
    # The same name without TLS is not us: whoever can change what plain HTTP carries writes such a page.
    return page.netloc != request.host or (request.is_secure and page.scheme != "https")
