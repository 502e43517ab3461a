"""How every process logs: text for people, JSON for machines, and one id that follows a request through the queue.

The formats hold for the lines of libraries, too: the web server's and Celery's.
"""

import contextlib
import contextvars
import json
import logging
import uuid
from collections.abc import Iterator
from typing import Any

from workers.settings import Settings

_request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")


def request_id() -> str:
    """The id of the request that is being worked on; empty outside of one."""
    return _request_id.get()


@contextlib.contextmanager
def request(id: str | None = None) -> Iterator[str]:
    """Lines that are logged in the block carry this id, or a new one."""
    token = _request_id.set(id or uuid.uuid4().hex[:16])
    try:
        yield _request_id.get()
    finally:
        _request_id.reset(token)


def configure(settings: Settings) -> None:
    """Sets up the root logger as the settings say."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if settings.log_format == "json" else _Text(_TEXT, defaults=_NO_ID))
    handler.addFilter(_add_request_id)
    logging.captureWarnings(True)
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for chatty in ("celery.worker.strategy", "celery.app.trace", "httpx"):  # lines for every task or request
        logging.getLogger(chatty).setLevel(logging.WARNING)


_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s%(request)s"
_NO_ID = {"request": ""}


def _add_request_id(record: logging.LogRecord) -> bool:
    id = _request_id.get()
    record.__dict__ |= {"request_id": id, "request": f" [{id}]" if id else ""}
    return True


def escaped(text: str) -> str:
    r"""The text with everything that is no character to see as an escape: `\n`, `\x1b`, `\u202e`.

    Names, paths and headers come from clients: what they hold ends no line, colours no terminal, turns no text around.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _Text(logging.Formatter):
    """A record is a line that begins with the time; a traceback's lines are indented, so none is taken for a record."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = escaped(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:
        return "\n".join(f"    {escaped(line)}" for line in super().formatException(ei).split("\n"))


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": escaped(record.getMessage()),
        }
        if id := getattr(record, "request_id", ""):
            line["request_id"] = id
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
