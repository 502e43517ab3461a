"""Who is asking: the holder of a token, by `Authorization: Bearer` or by the cookie that signing in has set.

Roles belong here: give `Visitor` the roles of its token, and decide in `Visitor.may`.
"""

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeVar

from flask import Request, current_app, g, session

View = TypeVar("View", bound=Callable)


@dataclass(frozen=True)
class Visitor:
    """Someone who may come in. `name` tells visitors apart in logs without giving their token away."""

    name: str

    def may(self, method: str, endpoint: str | None) -> bool:
        """Whether this visitor may use the route. Every visitor may use every route: there are no roles yet."""
        return True


ANYONE_HERE = Visitor("anyone on this machine")


class Gate:
    """Lets the holders of the tokens in, or everyone when there are no tokens."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = tuple(tokens)

    @property
    def is_closed(self) -> bool:
        return bool(self._tokens)

    def identify(self, request: Request) -> Visitor | None:
        """Who sent the request; None when it has to show a token first. A cookie does not mend a wrong Bearer token."""
        g.visitor = self._identify(request)
        return g.visitor

    def _identify(self, request: Request) -> Visitor | None:
        if not self.is_closed:
            return ANYONE_HERE
        authorization = request.authorization
        if authorization is not None:
            if authorization.type != "bearer" or not authorization.token:
                return None
            return self.holder_of(authorization.token)
        return next((_holder(token) for token in self._tokens if _same(session.get("holder", ""), _mark(token))), None)

    def holder_of(self, presented: str) -> Visitor | None:
        """The visitor that this token belongs to. Takes the same time whichever token it is compared with."""
        matching = [token for token in self._tokens if _same(presented, token)]
        return _holder(matching[0]) if matching else None

    def sign_in(self, presented: str) -> bool:
        """Starts a session for the holder of the token. It ends when the token is withdrawn from the settings."""
        visitor = self.holder_of(presented)
        session.clear()
        if visitor is None:
            return False
        session["holder"] = _mark(presented)
        session.permanent = True
        return True


def current_visitor() -> Visitor | None:
    """Who sent the request that is being answered."""
    return g.get("visitor")


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


def _holder(token: str) -> Visitor:
    return Visitor(f"token {sha256(token.encode()).hexdigest()[:8]}")
