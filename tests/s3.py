"""An S3 server for tests that can go away in the middle of something, and that knows one key alone."""

import re
import socket
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

KEY = "lookalike"
_REFUSED = (
    b"<?xml version='1.0'?><Error><Code>InvalidAccessKeyId</Code><Message>The key does not exist</Message></Error>"
)


class S3Server:
    """moto on a port of this machine, which keeps what it holds for as long as it lives.

    Attributes:
        url: its address.
        is_away: while it is set, every connection is cut without an answer.
        on_request: called with method and path of each request before it is answered.
    """

    def __init__(self) -> None:
        self.is_away = threading.Event()
        self.on_request: Callable[[str, str], None] = lambda method, path: None
        self._application: Any = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self._serving = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._serving.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._serving.join()

    def environment(self, key: str = KEY) -> dict[str, str]:
        """Leads programs here."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.on_request(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        if self.is_away.is_set():
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)  # lest the body is read as the next request
            raise ConnectionAbortedError
        if not re.search(f"Credential={KEY}/", environ.get("HTTP_AUTHORIZATION", "")):
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [_REFUSED]
        answer: Iterable[bytes] = self._application(environ, start_response)
        return answer
