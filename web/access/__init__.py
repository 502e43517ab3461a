"""Who may ask what, and what a browser may do with the answers.

    principals.py   who asks: tokens, sessions, and how often one may guess
    roles.py        which role a route needs; one that states none is closed
    audit.py        who changed what, in the log
    resume.py       what was typed into a form whose session had ended
    sign_in.py      the sign-in page, for browsers
    cross_site.py   requests that other sites make a browser send
    hosts.py        names that the portal answers to
    headers.py      Content-Security-Policy and its relatives
    session_key.py  the key that signs session cookies

Without `LOOKALIKE_API_TOKENS` everyone on this machine may do everything; `lookalike up` then binds to loopback only,
and the portal answers to loopback names only, so that no site can reach it through a name of its own (DNS rebinding).
"""

from datetime import timedelta

from flask import Flask, Request, redirect, request, session, url_for
from flask.sessions import SecureCookieSessionInterface
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFProtect, generate_csrf
from markupsafe import Markup
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, Unauthorized

from web.access import cross_site, headers, hosts, resume, sign_in
from web.access.principals import Authenticator, current_principal, is_admin
from web.access.roles import is_public, may, public, requires, role_of
from web.access.session_key import session_key
from web.bodies import SMALL
from workers.settings import Settings

__all__ = ["csrf", "current_principal", "init_app", "is_admin", "public", "requires"]

csrf = CSRFProtect()


def init_app(app: Flask, settings: Settings) -> None:
    """Guards every route of the application, those that are registered later included."""
    app.config.update(
        SECRET_KEY=session_key(settings.home),
        SESSION_COOKIE_NAME="lookalike",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        PERMANENT_SESSION_LIFETIME=timedelta(days=14),
        WTF_CSRF_TIME_LIMIT=None,  # A form stays good for as long as the session that it was made in.
    )
    app.session_interface = _SecureBehindTLS()
    authenticator = Authenticator(settings.tokens)
    app.extensions["lookalike-authenticator"] = authenticator
    public(app.view_functions["static"])

    @app.before_request
    def guard() -> ResponseReturnValue | None:
        if not authenticator.is_closed:
            hosts.refuse_untrusted_hosts(request)
        cross_site.refuse(request)
        view = app.view_functions.get(request.endpoint or "")
        if is_public(view):
            return None
        principal = authenticator.identify(request)
        if principal is None:
            return _ask_to_sign_in(request)
        if view is None:
            return None  # there is no such route; whoever may come in is told so
        needed = role_of(view)
        if needed is None or not principal.role.includes(needed):
            raise Forbidden(f"this needs the role {needed or 'of nobody'}, and yours is {principal.role}")
        return None

    csrf.init_app(app)
    headers.init_app(app)
    app.register_blueprint(sign_in.blueprint)
    app.jinja_env.globals.update(csrf_field=_csrf_field, may=may, is_admin=is_admin)
    app.context_processor(lambda: {"tokens_needed": authenticator.is_closed, "principal": current_principal()})


def _csrf_field() -> Markup:
    """What every form of our pages holds."""
    return Markup('<input type="hidden" name="csrf_token" value="{}">').format(generate_csrf())


def _ask_to_sign_in(request: Request) -> ResponseReturnValue:
    wants_page = request.method == "GET" and not request.path.startswith("/api/")
    if wants_page and "Authorization" not in request.headers:
        return redirect(url_for("sign_in.page", next=request.full_path.rstrip("?")))
    challenge = WWWAuthenticate("bearer", {"realm": "Lookalike"})
    if resume.is_form():
        # Strangers' bodies are read no further than a form reaches; photos only of those who were signed in once.
        if not session.get("id"):
            request.max_content_length = SMALL
        typed = resume.typed_in(request)
        form = sign_in.ask(typed.page, resume.packed(typed))
        return form, 401, {"WWW-Authenticate": challenge.to_header()}
    raise Unauthorized(
        "this portal needs a token: send it as 'Authorization: Bearer TOKEN', or sign in with a browser",
        www_authenticate=challenge,
    )


class _SecureBehindTLS(SecureCookieSessionInterface):
    """Session cookies marked Secure whenever the request came over TLS, this server's own or a trusted proxy's."""

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure
