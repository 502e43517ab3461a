"""Asking for what looks like photos and images of the gallery."""

from collections.abc import Sequence
from typing import Any

from ml.images import UnreadableImage
from workers.client.rpc import RpcClient
from workers.errors import Refused
from workers.messages import SearchResult

MOST_EXAMPLES = 16


class Searches:
    """The client's searches. Safe to use from many threads."""

    def __init__(self, rpc: RpcClient, max_mb: int) -> None:
        self._rpc = rpc
        self._max_mb = max_mb

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

        def example(given: bytes | str) -> dict[str, Any]:
            return {"id": given} if isinstance(given, str) else {"image": self._checked(given)}

        like = [example(first) | {"box": box and list(box)}, *map(example, more)]
        request: dict[str, Any] = {"like": like, "unlike": [*map(example, unlike)]}
        request |= {"k": k, "label": label, "rerank": rerank, "strategy": strategy}
        return SearchResult.from_json(self._rpc.search(request, timeout_s))

    def _checked(self, photo: bytes) -> bytes:
        if len(photo) > self._max_mb * 2**20:
            raise UnreadableImage(f"is larger than {self._max_mb} MB")
        return photo
