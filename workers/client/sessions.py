"""Sessions of signed-in browsers, in Redis: one that is ended is ended for every portal, whoever holds its cookie."""

import secrets
from hashlib import sha256

from workers.client.connection import QueueConnection

IDLE_S = 14 * 86_400  # a session that nobody uses for so long is over


class Sessions:
    """Which sessions there are. Redis holds hashes of their ids, so reading it opens nothing."""

    def __init__(self, connection: QueueConnection) -> None:
        self._redis, self._errors_reported = connection.redis, connection.errors_reported

    def begin(self, holder: str) -> str:
        """Starts a session of the holder and returns its id, which only the browser is told."""
        id = secrets.token_urlsafe(32)
        with self._errors_reported():
            self._redis.set(_key(id), holder, ex=IDLE_S)
        return id

    def holder(self, id: str) -> str | None:
        """Whose session it is; None when there is no such session, or none any more. Being asked keeps it alive."""
        with self._errors_reported():
            holder: str | None = self._redis.getex(_key(id), ex=IDLE_S)
        return holder

    def end(self, id: str) -> None:
        """Ends the session, whoever still has its cookie."""
        with self._errors_reported():
            self._redis.delete(_key(id))


def _key(id: str) -> str:
    return f"lookalike:session:{sha256(id.encode()).hexdigest()}"
