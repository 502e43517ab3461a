"""Who is asking: the holder of a token, by `Authorization: Bearer` or by the cookie that signing in has set."""

import hmac
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from flask import Request, current_app, g, session
from werkzeug.exceptions import TooManyRequests

from web.backend import client
from workers.client import ApiToken, Role

_PREFIX = 4  # characters of a token that its failures are counted by


@dataclass(frozen=True)
class Principal:
    """Someone who may come in: `name` is what logs say, `role` what is allowed."""

    name: str
    role: Role


ANYONE_HERE = Principal("anyone", Role.ADMIN)


class Authenticator:
    """Lets the holders of the tokens in, or everyone on this machine when there are no tokens."""

    def __init__(self, tokens: Sequence[ApiToken]) -> None:
        self._tokens = tuple(tokens)

    @property
    def is_closed(self) -> bool:
        return bool(self._tokens)

    def identify(self, request: Request) -> Principal | None:
        """Who sent the request; None when it has to show a token first. A cookie does not mend a wrong Bearer token.

        Raises:
            TooManyRequests: too many wrong tokens like this one came from this address.
            Unavailable: the sessions cannot be read.
        """
        principal = self._identify(request)
        g.principal = principal
        return principal

    def _identify(self, request: Request) -> Principal | None:
        if not self.is_closed:
            return ANYONE_HERE
        authorization = request.authorization
        if authorization is not None:
            if authorization.type != "bearer" or not authorization.token:
                return None
            token = self.token_of(authorization.token, request)
            return _principal(token) if token else None
        if not (id := session.get("id")):
            return None
        holder = client().sessions.holder(str(id)) or ""
        return next((_principal(token) for token in self._tokens if _same(holder, _mark(token.secret))), None)

    def may_know(self, request: Request) -> bool:
        """Whether the request shows a right token, or a cookie of ours: enough to read its body, not to answer it."""
        if not self.is_closed or session.get("id"):
            return True
        shown = (request.authorization.token if request.authorization else None) or ""
        return sum(_same(shown, token.secret) for token in self._tokens) > 0  # each is compared

    def token_of(self, presented: str, request: Request) -> ApiToken | None:
        """The token with this secret; None when there is none, which counts as a failure.

        Failures are counted by the address and by how the token begins. Whoever guesses at one token is slowed down;
        others behind the same proxy, whose tokens begin otherwise, are not.

        Raises:
            TooManyRequests: too many failed lately.
        """
        failures = client().failures
        key = _failure_key(request.remote_addr or "", presented)
        if wait_s := failures.wait_s(key):
            raise TooManyRequests("too many wrong tokens came from your address", retry_after=wait_s)
        # Every one is compared, so that the time says nothing of which one matched.
        matching = [token for token in self._tokens if _same(presented, token.secret)]
        if not matching:
            failures.note(key)
            return None
        return matching[0]

    def sign_in(self, presented: str, request: Request) -> Principal | None:
        """Starts a session for the holder of the token; None when there is no such token.

        The session ends when it is signed out of, here or elsewhere, and when its token is withdrawn.
        """
        token = self.token_of(presented, request)
        end_session()
        if token is None:
            return None
        session["id"] = client().sessions.begin(_mark(token.secret))
        session.permanent = True
        g.principal = _principal(token)
        return _principal(token)


def end_session() -> None:
    """Ends the session of this browser on the server, so that a copy of its cookie is worth nothing, and here."""
    if id := session.get("id"):
        client().sessions.end(str(id))
    session.clear()


def current_principal() -> Principal | None:
    """Who sent the request that is being answered."""
    principal: Principal | None = g.get("principal")
    return principal


def is_admin() -> bool:
    """Whether who asks may do everything."""
    principal = current_principal()
    return principal is not None and principal.role is Role.ADMIN


def _same(a: str, b: str) -> bool:
    # Both sides hashed: compare_digest tells lengths apart by its time, and refuses text that is not ASCII.
    return hmac.compare_digest(sha256(a.encode()).digest(), sha256(b.encode()).digest())


def _mark(text: str) -> str:
    """What we keep of a secret: nothing that it could be guessed from without the session key."""
    return hmac.new(str(current_app.secret_key).encode(), text.encode(), sha256).hexdigest()


def _failure_key(address: str, presented: str) -> str:
    # A bucket out of 4,096, so that made-up beginnings cannot make counters without end.
    return f"{_network(address)}:{_mark(presented[:_PREFIX])[:3]}"


def _network(address: str) -> str:
    """The address, or the /64 network of an IPv6 one: its holder has all of them."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else str(parsed)


def _principal(token: ApiToken) -> Principal:
    return Principal(token.name, token.role)
