"""One format for every line, and no line that a client could have written."""

import io
import json
import logging
import subprocess
import sys
import warnings

import pytest

from workers import logs
from workers import settings as settings_of

FORGED = "x\n2026-11-24 10:00:00,000 INFO web.audit: admin deleted everything"
TRICKS = ["\x1b[2J", "\u202eevil", "\r", "\x00", "\u2028", "\x85", "\ud800"]


@pytest.fixture(params=["text", "json"])
def lines(request):
    """Logs a message and gives the lines that come out."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    root.handlers.clear()  # pytest's own would be closed
    logs.configure(settings_of.load({"LOOKALIKE_LOG_FORMAT": request.param}))
    (handler,) = root.handlers
    output = io.StringIO()
    handler.setStream(output)

    def written(message=None, *arguments, **more):
        if message is not None:
            logging.getLogger("web.test").info(message, *arguments, **more)
        return output.getvalue().split("\n")[:-1]

    written.format = request.param
    yield written
    logging.captureWarnings(False)
    root.handlers[:], root.level = before


@pytest.mark.parametrize("sent", [FORGED, *TRICKS])
def test_what_a_client_sends_stays_on_its_line_and_is_escaped(lines, sent):
    (line,) = lines("GET %s 200", f"/{sent}")
    assert line.isprintable()
    assert "web.test" in line


def test_a_traceback_cannot_be_taken_for_lines_of_the_log(lines):
    try:
        raise ValueError(FORGED)
    except ValueError:
        first, *others = lines("it failed", exc_info=True)
    if lines.format == "json":
        assert not others
        assert json.loads(first)["exception"].startswith("Traceback")
    else:
        assert others
        assert all(each.startswith("    ") for each in others)


def test_letters_of_every_language_stay_as_they_are(lines):
    (line,) = lines("Füße 日本 🦊")
    assert "Füße 日本 🦊" in (json.loads(line)["message"] if lines.format == "json" else line)


def test_a_line_carries_the_id_of_its_request(lines):
    with logs.request("from-a-proxy-1"):
        (line,) = lines("hello")
    assert "from-a-proxy-1" in line


def test_warnings_of_libraries_are_lines_of_the_log(lines):
    logging.captureWarnings(True)  # pytest has its own way with warnings, and put it back
    warnings.warn("old", UserWarning, stacklevel=1)
    (line,) = lines()
    assert "py.warnings" in line


def test_celery_writes_no_line_in_a_format_of_its_own():
    program = (
        "import logging; from workers import logs, settings, __main__ as main;"
        "from celery.signals import setup_logging;"
        "own = settings.load({'LOOKALIKE_LOG_FORMAT': 'json', 'LOOKALIKE_REDIS_URL': 'redis://127.0.0.1:1'});"
        "logs.configure(own); setup_logging.connect(main._leave_logging_alone);"
        "from workers.queue.app import make_app; app = make_app(own);"
        "worker = app.Worker(pool='threads', loglevel='INFO'); worker.setup_logging();"
        "logging.getLogger('celery.worker').warning('hello')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert [json.loads(line)["message"] for line in done.stderr.splitlines()][-1:] == ["hello"]
    assert done.stdout == ""
