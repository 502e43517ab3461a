"""The sign-in page: a token in, a session cookie out."""

import time
from collections import deque

from flask import Blueprint, current_app, redirect, render_template, request, session, url_for
from flask.blueprints import BlueprintSetupState
from flask.typing import ResponseReturnValue

from web.access.principals import Authenticator, public
from web.bodies import SIGN_IN, body_limit

blueprint = Blueprint("sign_in", __name__)


class LoginRateLimiter:
    """Slows down guessing: a few failed attempts a minute from one address, and not many more from all together.

    Counts in this process alone: with n portal processes a guesser gets n times as many attempts, which changes nothing
    against a token made by a machine.
    """

    def __init__(self, per_address: int = 5, altogether: int = 50, window_s: float = 60) -> None:
        self._per_address = per_address
        self._window_s = window_s
        self._failures: deque[tuple[float, str]] = deque(maxlen=altogether)

    def wait_s(self, address: str) -> int:
        """Seconds until this address may try again; 0 when it may now."""
        now = time.monotonic()
        recent = [(at, who) for at, who in tuple(self._failures) if now - at < self._window_s]
        own = [at for at, who in recent if who == address]
        if len(own) < self._per_address and len(recent) < (self._failures.maxlen or 0):
            return 0
        oldest = own[-self._per_address] if len(own) >= self._per_address else recent[0][0]
        return max(1, round(oldest + self._window_s - now))

    def failed(self, address: str) -> None:
        self._failures.append((time.monotonic(), address))


@blueprint.record_once
def _fresh_limiter(state: BlueprintSetupState) -> None:
    state.app.extensions["lookalike-rate-limiter"] = LoginRateLimiter()


@blueprint.get("/sign-in")
@public
def page() -> ResponseReturnValue:
    """The form."""
    return render_template("sign_in.html", next=_local(request.args.get("next", "")))


@blueprint.post("/sign-in")
@body_limit(SIGN_IN)
@public
def sign_in() -> ResponseReturnValue:
    """Checks the token. The answer to a wrong one is the form again, saying so."""
    authenticator: Authenticator = current_app.extensions["lookalike-authenticator"]
    limiter: LoginRateLimiter = current_app.extensions["lookalike-rate-limiter"]
    address = request.remote_addr or ""
    goal = _local(request.form.get("next", ""))
    wait_s = limiter.wait_s(address)
    if wait_s:
        error = f"Too many attempts. Try again in {wait_s} seconds."
        return render_template("sign_in.html", next=goal, error=error), 429, {"Retry-After": str(wait_s)}
    if not authenticator.sign_in(request.form.get("token", "").strip()):
        limiter.failed(address)
        return render_template("sign_in.html", next=goal, error="This token does not open this portal."), 401
    return redirect(goal)


@blueprint.post("/sign-out")
@public
def sign_out() -> ResponseReturnValue:
    """Ends the session."""
    session.clear()
    return redirect(url_for("sign_in.page"))


def _local(target: str) -> str:
    """The target, when it is a path on this site; the search page otherwise (no open redirect)."""
    is_local = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if is_local else url_for("search.page")
