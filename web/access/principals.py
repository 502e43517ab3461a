"""Who is asking: the holder of a token, by `Authorization: Bearer` or by the cookie that signing in has set.

Roles belong here: give `Principal` the roles of its token, and decide in `Principal.may`.
"""

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeVar

from flask import Request, current_app, g, session

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True)
class Principal:
    """Someone who may come in. `name` tells principals apart in logs without giving their token away."""

    name: str

    def may(self, method: str, endpoint: str | None) -> bool:
        """Whether this principal may use the route. Every principal may use every route: there are no roles yet."""
        return True


ANYONE_HERE = Principal("anyone on this machine")


class Authenticator:
    """Lets the holders of the tokens in, or everyone when there are no tokens."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = tuple(tokens)

    @property
    def is_closed(self) -> bool:
        return bool(self._tokens)

    def identify(self, request: Request) -> Principal | None:
        """Who sent the request; None when it has to show a token first. A cookie does not mend a wrong Bearer token."""
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
            return self.holder_of(authorization.token)
        return next((_holder(token) for token in self._tokens if _same(session.get("holder", ""), _mark(token))), None)

    def holder_of(self, presented: str) -> Principal | None:
        """The principal that this token belongs to. Takes the same time whichever token it is compared with."""
        matching = [token for token in self._tokens if _same(presented, token)]
        return _holder(matching[0]) if matching else None

    def sign_in(self, presented: str) -> bool:
        """Starts a session for the holder of the token. It ends when the token is withdrawn from the settings."""
        principal = self.holder_of(presented)
        session.clear()
        if principal is None:
            return False
        session["holder"] = _mark(presented)
        session.permanent = True
        return True


def current_principal() -> Principal | None:
    """Who sent the request that is being answered."""
    principal: Principal | None = g.get("principal")
    return principal


def public(view: View) -> View:
    """Marks a view that needs no token. It must tell nothing that a stranger may not know."""
    view.is_public = True  # type: ignore[attr-defined]
    return view


def _same(a: str, b: str) -> bool:
    # Both sides hashed: compare_digest tells lengths apart by its time, and refuses text that is not ASCII.
    return hmac.compare_digest(sha256(a.encode()).digest(), sha256(b.encode()).digest())


def _mark(token: str) -> str:
    """What a session keeps of its token: nothing that the token could be guessed from without the session key."""
    return hmac.new(str(current_app.secret_key).encode(), token.encode(), sha256).hexdigest()


def _holder(token: str) -> Principal:
    return Principal(f"token {sha256(token.encode()).hexdigest()[:8]}")
