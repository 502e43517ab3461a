"""The one way from a request to the workers: the client that `create_app` was given or made."""

import re
from typing import cast

from flask import current_app
from werkzeug.exceptions import UnprocessableEntity

from workers.client import Client, NotFound

_IMAGE_ID = re.compile(r"[0-9a-f]{32}")
_PAGE_START = re.compile(r"[0-9]{1,16}-[0-9a-f]{32}")


def client() -> Client:
    """The queue's client side, of the application that answers this request."""
    return cast(Client, current_app.extensions["lookalike"])


def page_start(text: str | None) -> str | None:
    """Where a page of the gallery starts, when it has the form of the `next` of one; None for the first page.

    Raises:
        UnprocessableEntity: it has not.
    """
    if text and not _PAGE_START.fullmatch(text):
        raise UnprocessableEntity("after must be the `next` of the page before")
    return text or None


def image_id(text: str) -> str:
    """The id, when it has the form of one.

    Raises:
        NotFound: it has not, so there is no such image; the text never reaches storage.
    """
    if not _IMAGE_ID.fullmatch(text):
        raise NotFound("there is no image with this id", hint="an id is 32 hexadecimal digits, as results show it")
    return text
