"""Who may ask what, and what a browser may do with the answers.

    principals.py   tokens, and the one place where roles will be decided: `Principal.may`
    sign_in.py      the sign-in page, for browsers
    cross_site.py   requests that other sites make a browser send
    hosts.py        names that the portal answers to
    headers.py      Content-Security-Policy and its relatives
    session_key.py  the key that signs session cookies

Without `LOOKALIKE_API_TOKENS` everyone on this machine may do everything; `lookalike up` then binds to loopback only,
and the portal answers to loopback names only, so that no site can reach it through a name of its own (DNS rebinding).
"""

from datetime import timedelta

from flask import Flask, Request, redirect, request, url_for
from flask.sessions import SecureCookieSessionInterface
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFProtect, generate_csrf
from markupsafe import Markup
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, Unauthorized

from web.access import cross_site, headers, hosts, sign_in
from web.access.principals import Authenticator, current_principal, public
from web.access.session_key import session_key
from workers.settings import Settings

__all__ = ["csrf", "current_principal", "init_app", "public"]

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
    authenticator = Authenticator(settings.api_tokens)
    app.extensions["lookalike-authenticator"] = authenticator

    @app.before_request
    def guard() -> ResponseReturnValue | None:
        if not authenticator.is_closed:
            hosts.refuse_untrusted_hosts(request)
        cross_site.refuse(request)
        view = app.view_functions.get(request.endpoint or "")
        if request.endpoint == "static" or getattr(view, "is_public", False):
            return None
        principal = authenticator.identify(request)
        if principal is None:
            return _ask_to_sign_in(request)
        if not principal.may(request.method, request.endpoint):
            raise Forbidden("your token does not allow this")
        return None

    csrf.init_app(app)
    headers.init_app(app)
    app.register_blueprint(sign_in.blueprint)
    app.jinja_env.globals["csrf_field"] = _csrf_field
    app.context_processor(lambda: {"tokens_needed": authenticator.is_closed, "principal": current_principal()})


def _csrf_field() -> Markup:
    """What every form of our pages holds."""
    return Markup('<input type="hidden" name="csrf_token" value="{}">').format(generate_csrf())


def _ask_to_sign_in(request: Request) -> ResponseReturnValue:
    wants_page = request.method == "GET" and not request.path.startswith("/api/")
    if wants_page and "Authorization" not in request.headers:
        return redirect(url_for("sign_in.page", next=request.full_path.rstrip("?")))
    raise Unauthorized(
        "this portal needs a token: send it as 'Authorization: Bearer TOKEN', or sign in with a browser",
        www_authenticate=WWWAuthenticate("bearer", {"realm": "Lookalike"}),
    )


class _SecureBehindTLS(SecureCookieSessionInterface):
    """Session cookies marked Secure whenever the request came over TLS, this server's own or a trusted proxy's."""

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure
