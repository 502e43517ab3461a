"""What was typed into a form whose session had ended: kept through signing in, then offered to be sent.

It travels in the sign-in form itself, signed, so that strangers store nothing on the server. Chosen files are not kept:
no form can be filled with them again.
"""

from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from flask import Request, current_app, render_template, request, url_for
from itsdangerous import BadData, URLSafeTimedSerializer

_LONGEST = 3_000  # characters; the sign-in form has a limit of 4 kB
_GOOD_FOR_S = 3_600
_PAGE = "came_from"  # field of a form that is offered: the page that it stood on first


@dataclass(frozen=True)
class Typed:
    """A form: where it goes, the page that it stands on, and what was typed into it."""

    action: str
    page: str
    fields: list[tuple[str, str]]
    has_files: bool = False


def typed_in(request: Request) -> Typed:
    """The form of a request. Reads its body."""
    fields = [(name, value) for name, value in request.form.items(multi=True) if name not in ("csrf_token", _PAGE)]
    return Typed(request.full_path.rstrip("?"), came_from(request), fields, bool(request.files))


def packed(typed: Typed) -> str:
    """The form as text that only we can have written; empty when it is too much to carry."""
    text = _serializer().dumps([typed.action, typed.page, typed.fields, typed.has_files])
    text = text if isinstance(text, str) else text.decode()
    return text if len(text) <= _LONGEST else ""


def unpacked(text: str) -> Typed | None:
    """The inverse of `packed`; None for what we have not written, or an hour ago."""
    try:
        action, page, fields, has_files = _serializer().loads(text, max_age=_GOOD_FOR_S)
    except BadData:
        return None
    return Typed(action, page, [(name, value) for name, value in fields], has_files)


_ENDED = "Your session had ended, or this form was out of date: nothing was changed. Here is what you had typed."


def offer(typed: Typed, *, told: str = _ENDED, reason: str = "") -> str:
    """A page that shows what was not sent yet, and sends it at the press of a button.

    Args:
        typed: the form. One that had files leads back to its page: they are to be chosen anew.
        told: why it was not sent, in sentences.
        reason: the same in technical words, if there are any.
    """
    chosen = sum(name == "ids" for name, _ in typed.fields)
    shown = [(name, value) for name, value in typed.fields if name not in ("ids", "next") and value]
    return render_template("resume.html", typed=typed, chosen=chosen, shown=shown, told=told, reason=reason)


def page_with(typed: Typed) -> str:
    """The address of the form's page, with what was typed in its fields; files are to be chosen anew."""
    path, _, query = typed.page.partition("?")
    return f"{path}?{urlencode(typed.fields)}" if typed.fields and not query else typed.page


def came_from(request: Request) -> str:
    """Path and query of the page that sent the form, on this site whatever the Referer header says.

    A form that is offered after signing in says which page it stood on: the one that offers it is the sign-in page.
    """
    if (said := request.form.get(_PAGE, "")).startswith("/") and said.isprintable():
        return "/" + said.lstrip("/\\")
    parts = urlsplit(request.referrer or "")
    if parts.netloc != request.host or not parts.path.startswith("/"):
        return url_for("gallery.page")
    return "/" + parts.path.lstrip("/") + (f"?{parts.query}" if parts.query else "")


def is_form() -> bool:
    """Whether the request is a page's form, sent by a browser."""
    return request.method == "POST" and not request.path.startswith("/api/") and "Authorization" not in request.headers


def _serializer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(str(current_app.secret_key), salt="lookalike.resume")
