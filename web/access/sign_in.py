"""The sign-in page: a token in, a session cookie out."""

from flask import Blueprint, current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import TooManyRequests

from web.access import audit, resume
from web.access.principals import Authenticator, end_session
from web.access.roles import public
from web.bodies import SIGN_IN, body_limit

blueprint = Blueprint("sign_in", __name__)


@blueprint.get("/sign-in")
@public
def page() -> ResponseReturnValue:
    """The form."""
    return _form(_local(request.args.get("next", "")))


@blueprint.post("/sign-in")
@public
@body_limit(SIGN_IN)
def sign_in() -> ResponseReturnValue:
    """Checks the token. The answer to a wrong one is the form again, saying so."""
    authenticator: Authenticator = current_app.extensions["lookalike-authenticator"]
    goal, kept = _local(request.form.get("next", "")), request.form.get("resume", "")
    try:
        principal = authenticator.sign_in(request.form.get("token", "").strip(), request)
    except TooManyRequests as error:
        wait = str(error.retry_after)
        return _form(goal, kept, f"Too many attempts. Try again in {wait} seconds."), 429, {"Retry-After": wait}
    if principal is None:
        return _form(goal, kept, "This token does not open this portal."), 401
    audit.changes("sign in")
    typed = resume.unpacked(kept) if kept else None
    if typed is None:
        return redirect(goal)
    return redirect(resume.page_with(typed)) if typed.has_files else resume.offer(typed)


@blueprint.post("/sign-out")
@public
def sign_out() -> ResponseReturnValue:
    """Ends the session, for this browser and for whoever has a copy of its cookie."""
    authenticator: Authenticator = current_app.extensions["lookalike-authenticator"]
    if authenticator.is_closed and authenticator.identify(request):
        audit.changes("sign out")
    end_session()
    return redirect(url_for("sign_in.page"))


def ask(goal: str, kept: str) -> str:
    """The form, in place of the answer to a request whose session has ended."""
    return _form(_local(goal), kept, "You are signed out. Sign in, and go on where you were.")


def _form(goal: str, kept: str = "", error: str = "") -> str:
    return render_template("sign_in.html", next=goal, resume=kept, error=error)


def _local(target: str) -> str:
    """The target, when it is a path on this site; the search page otherwise (no open redirect)."""
    is_local = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if is_local else url_for("search.page")
