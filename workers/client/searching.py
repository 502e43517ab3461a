"""Asking for what looks like photos and images of the gallery."""

import contextlib
from collections.abc import Sequence
from typing import Any

from ml.images import UnreadableImage
from workers.client.connection import QueueConnection
from workers.client.rpc import RpcClient
from workers.errors import Refused
from workers.messages import AVERAGE, SearchResult
from workers.queue import query_photos

MOST_EXAMPLES = 16


class Searches:
    """The client's searches. Safe to use from many threads."""

    def __init__(self, connection: QueueConnection, rpc: RpcClient) -> None:
        self._connection = connection
        self._rpc = rpc
        self._max_mb = connection.settings.max_upload_mb

    def search(
        self,
        first: bytes | str,
        *,
        k: int,
        label: str | None,
        rerank: bool,
        box: Sequence[float] | None,
        more: Sequence[bytes | str],
        unlike: Sequence[bytes | str],
        strategy: str,
        timeout_s: float,
    ) -> SearchResult:
        """See Client.search. An example is a photo's bytes, or the id of an image of the gallery."""
        if (more or unlike) and rerank:
            raise Refused("re-ranking works with one photo", hint="leave it out, or search with one photo")
        if 1 + len(more) + len(unlike) > MOST_EXAMPLES:
            raise Refused(f"a search takes at most {MOST_EXAMPLES} photos", hint="leave some out")
        with self._connection.errors_reported(), contextlib.ExitStack() as kept:

            def example(given: bytes | str) -> dict[str, Any]:
                if isinstance(given, str):
                    return {"photo": None, "id": given}
                photo = query_photos.uploaded(self._connection.redis, self._checked(given), timeout_s)
                return {"photo": kept.enter_context(photo), "id": None}

            request = example(first) | {"k": k, "label": label, "rerank": rerank}
            # What is not used is not said: a worker of an earlier version knows nothing of it.
            said = {"box": box and list(box), "more": [*map(example, more)], "unlike": [*map(example, unlike)]}
            request |= {name: value for name, value in said.items() if value}
            if strategy != AVERAGE:
                request["strategy"] = strategy
            return SearchResult.from_json(self._rpc.call("search", request, timeout_s))

    def _checked(self, photo: bytes) -> bytes:
        if len(photo) > self._max_mb * 2**20:
            raise UnreadableImage(f"is larger than {self._max_mb} MB")
        return photo
