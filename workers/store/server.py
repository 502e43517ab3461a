"""A Qdrant server, through qdrant-client: gRPC where it is open, HTTP otherwise.

Every write waits until the server has applied it (`wait=True`): a `wait=false` answer may be lost. Reads and idempotent
writes are tried again with growing, jittered pauses while the server restarts; all writes here are idempotent. Of a
server that stays away calls say so at once, until it is back: see workers.store.reachability.
"""

import logging
import random
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import numpy as np
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException

from ml.names import CollectionName
from workers.messages import AVERAGE, Selection
from workers.store import (
    AWAY,
    EVERYTHING,
    Hit,
    Payload,
    Place,
    Point,
    Query,
    Store,
    Stored,
    StoreFailed,
    compared,
    page_behind,
    page_sizes,
)
from workers.store.codes import chosen
from workers.store.conditions import KEYWORDS, NUMBERS, WORDS, conditions
from workers.store.examples import Examples
from workers.store.failures import described, is_silence, passes
from workers.store.layout import Layout, codes_of
from workers.store.reachability import Reachability

logger = logging.getLogger(__name__)

_BATCH = 256  # points per request: 512-d float32 with payload is about 0.6 MB
_TRIES = 5
_ALIAS = "gallery"
_TIMEOUT_S = 10  # of a call; a healthy server answers the largest of ours in a tenth of it
_PROBE_TIMEOUT_S = 1
# A channel that was refused tries again twice a second, and looks the address up again: a container that is made anew
# has another one. gRPC's own pauses grow to two minutes. Keep-alive finds a line that was cut.
_CHANNEL = {
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.min_reconnect_backoff_ms": 500,
    "grpc.max_reconnect_backoff_ms": 500,
    "grpc.dns_min_time_between_resolutions_ms": 500,
    "grpc.keepalive_time_ms": 10_000,
    "grpc.keepalive_timeout_ms": 5_000,
}


class ServerStore(Store):
    """Collections of one Qdrant server, or of qdrant-client's local mode, which makes the same calls."""

    def __init__(self, client: QdrantClient, layout: Layout | None = None, prober: QdrantClient | None = None) -> None:
        """`prober` is a client of the same server that soon gives up; None where the client itself does."""
        self._client = client
        self._layout = layout or Layout()
        self._prober = prober or client
        self._reachability = Reachability(self._prober.get_collections)

    @classmethod
    def connect(cls, url: str, api_key: str = "", layout: Layout | None = None) -> "ServerStore":
        """Raises StoreFailed, within two seconds, when nothing answers at the address."""
        failure: Exception | None = None
        for prefer_grpc in (True, False):
            prober = _client(url, api_key, prefer_grpc=prefer_grpc, timeout_s=_PROBE_TIMEOUT_S)
            try:
                prober.get_collections()
            except (grpc.RpcError, ApiException, httpx.HTTPError) as error:
                prober.close()
                failure = error
            else:
                client = _client(url, api_key, prefer_grpc=prefer_grpc, timeout_s=_TIMEOUT_S)
                return cls(client, layout, prober)
        if failure is not None and not passes(failure):
            raise StoreFailed(
                f"the vector store at {url} rejects us: {described(failure)}",
                hint="check LOOKALIKE_QDRANT_URL and LOOKALIKE_QDRANT_API_KEY",
            ) from failure
        raise StoreFailed(f"{AWAY} at {url}", hint="check LOOKALIKE_QDRANT_URL", passes=True) from failure

    def ensure(self, collection: str, dim: int) -> None:
        if self._do(self._client.collection_exists, CollectionName(collection)):
            known = self.dim(collection)
            if known != dim:
                raise StoreFailed(
                    f"collection {collection} holds vectors of {known} numbers, not {dim}",
                    hint="publish the model again: it makes a collection of its own",
                )
            self._index_fields(collection)  # one that an earlier version has made lacks some
            return
        on_disk = self._layout.on_disk
        vectors = models.VectorParams(size=dim, distance=models.Distance.COSINE, on_disk=on_disk)
        try:
            self._client.create_collection(collection, vectors_config=vectors, **self._layout.options())
        except (ApiException, httpx.HTTPError, grpc.RpcError, ValueError) as error:
            if not self._do(self._client.collection_exists, collection):  # another worker was faster
                raise StoreFailed(
                    f"the vector store does not make the collection {collection}: {described(error)}",
                    hint="see its log",
                    passes=passes(error),
                ) from error
        self._index_fields(collection)

    def exists(self, collection: str) -> bool:
        return bool(self._do(self._client.collection_exists, collection))

    def dim(self, collection: str) -> int:
        return int(self._do(self._client.get_collection, collection).config.params.vectors.size)

    def drop(self, collection: str) -> None:
        self._do(self._client.delete_collection, CollectionName(collection))

    def collections(self) -> list[str]:
        return sorted(c.name for c in self._do(self._client.get_collections).collections)

    def upsert(self, collection: str, points: Sequence[Point]) -> None:
        for start in range(0, len(points), _BATCH):
            made = [
                models.PointStruct(id=_uuid(p.id), vector=p.vector.tolist(), payload=p.payload.to_json())
                for p in points[start : start + _BATCH]
            ]
            self._do(self._client.upsert, collection, made, wait=True)

    def set_payloads(self, collection: str, payloads: Mapping[str, Payload]) -> None:
        for id in self.fetch(collection, list(payloads)):
            payload = payloads[id].to_json()
            self._do(self._client.overwrite_payload, collection, payload=payload, points=[_uuid(id)], wait=True)

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        selector = models.PointIdsList(points=[_uuid(id) for id in ids])
        self._do(self._client.delete, collection, points_selector=selector, wait=True)

    def query_batch(self, collection: str, queries: Sequence[Query]) -> list[list[Hit]]:
        requests = [
            models.QueryRequest(
                query=_target(query.target),
                limit=query.limit,
                filter=_label_filter(query.label),
                params=self._layout.search_params(),
                with_payload=True,
                with_vector=query.needs_vectors,
            )
            for query in queries
        ]
        answers = self._do(self._client.query_batch_points, collection, requests)
        return [compared(list(map(_hit, answer.points)), q) for q, answer in zip(queries, answers, strict=True)]

    def fetch(self, collection: str, ids: Sequence[str], *, with_vectors: bool = False) -> dict[str, Stored]:
        keys = [_uuid(id) for id in ids]
        records = self._do(self._client.retrieve, collection, keys, with_payload=True, with_vectors=with_vectors)
        return {_hex(r.id): Stored(_hex(r.id), Payload.from_json(r.payload), _vector(r.vector)) for r in records}

    def points(
        self, collection: str, *, label: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Iterator[Stored]:
        offset: Any = _uuid(f"{min(int(after, 16) + 1, 2**128 - 1):032x}") if after else None
        for size in page_sizes(limit):
            records, offset = self._do(
                self._client.scroll,
                collection,
                scroll_filter=_label_filter(label),
                limit=size,
                offset=offset,
                with_payload=True,
            )
            for record in records:
                yield Stored(_hex(record.id), Payload.from_json(record.payload))
            if offset is None:
                return

    def newest(self, collection: str, selection: Selection, *, after: Place | None, limit: int) -> list[Stored]:
        def fetch(start: int | None, size: int) -> list[Stored]:
            records, _ = self._do(
                self._client.scroll,
                collection,
                scroll_filter=_filter(selection),
                limit=size,
                order_by=models.OrderBy(key="newest", direction=models.Direction.DESC, start_from=start),
                with_payload=True,
            )
            return [Stored(_hex(record.id), Payload.from_json(record.payload)) for record in records]

        return page_behind(after, limit, fetch)

    def count(self, collection: str, selection: Selection = EVERYTHING) -> int:
        return int(self._do(self._client.count, collection, count_filter=_filter(selection), exact=True).count)

    def folders(self, collection: str) -> dict[str, int]:
        return self._facet(collection, "folder")

    def labels(self, collection: str) -> dict[str, int]:
        return self._facet(collection, "label")

    def _facet(self, collection: str, field: str) -> dict[str, int]:
        hits = self._do(self._client.facet, collection, field, limit=100_000, exact=True).hits
        used = [hit for hit in hits if hit.count]  # labels of deleted points linger with a count of 0
        return {str(hit.value): hit.count for hit in sorted(used, key=lambda hit: (-hit.count, str(hit.value)))}

    def announce(self, collection: str) -> None:
        """Points the alias `gallery` at it, in one step."""
        changes = [
            models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=_ALIAS)),
            models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=collection, alias_name=_ALIAS)),
        ]
        self._do(self._client.update_collection_aliases, changes)

    def tend(self, collection: str) -> None:
        """Adds codes to a collection that is large by now. The server computes them in the background."""
        told = self._do(self._client.get_collection, collection)
        kind = chosen(self._layout.quantization, told.points_count or 0, told.config.params.vectors.size)
        if self._layout.quantization == "auto" and kind != "none" and told.config.quantization_config is None:
            logger.info("%s is searched by codes in %s from now on", collection, kind)
            self._do(self._client.update_collection, collection, quantization_config=codes_of(kind))

    def make_ready(self, collection: str) -> bool:
        """The server builds in the background, and says so."""
        return bool(self._do(self._client.get_collection, collection).status != models.CollectionStatus.YELLOW)

    def problem(self) -> str:
        return AWAY if self._reachability.is_away else ""

    def close(self) -> None:
        self._reachability.close()
        self._client.close()
        if self._prober is not self._client:
            self._prober.close()

    def _index_fields(self, collection: str) -> None:
        """Indexes the fields that images are selected and ordered by, unless they are."""
        words = models.TextIndexParams(
            type=models.TextIndexType.TEXT,
            tokenizer=models.TokenizerType.PREFIX,
            min_token_len=1,
            max_token_len=20,
            lowercase=True,
        )
        number = models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=False, range=True)
        wanted: dict[str, Any] = dict.fromkeys(KEYWORDS, models.PayloadSchemaType.KEYWORD)
        wanted |= dict.fromkeys(NUMBERS, number) | {WORDS: words}
        indexed = self._do(self._client.get_collection, collection).payload_schema
        for field in wanted.keys() - indexed.keys():
            self._do(self._client.create_payload_index, collection, field, wanted[field])

    def _do(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The call's answer; tried again while the server is away.

        Raises:
            StoreFailed: it rejects the request, or stays away.
        """
        failure: Exception | None = None
        for attempt in range(_TRIES):
            if self._reachability.is_away:
                break
            try:
                return call(*args, **kwargs)
            except (grpc.RpcError, ApiException, httpx.HTTPError) as error:
                if not passes(error):
                    raise StoreFailed(
                        f"the vector store rejects the request: {described(error)}", hint="see its log"
                    ) from error
                failure = error
                if is_silence(error):  # it had its time
                    break
            if attempt + 1 < _TRIES:
                time.sleep(random.uniform(0.5, 1.0) * 0.2 * 2**attempt)  # noqa: S311 - jitter, no secret
        self._reachability.lost()
        raise StoreFailed(AWAY, hint="it goes on by itself when that is back; see its log", passes=True) from failure


def _client(url: str, api_key: str, *, prefer_grpc: bool, timeout_s: int) -> QdrantClient:
    """Qdrant's gRPC port is the one behind its HTTP port: 6333 and 6334."""
    with warnings.catch_warnings():
        # The address says whether a line is encrypted. Inside one network of containers it need not be.
        warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
        return QdrantClient(
            url=url,
            api_key=api_key or None,
            prefer_grpc=prefer_grpc,
            grpc_port=(urlsplit(url).port or 6333) + 1,
            grpc_options=dict(_CHANNEL),  # the client adds to it
            timeout=timeout_s,
            check_compatibility=False,
        )


def _target(target: np.ndarray | Examples) -> Any:
    if not isinstance(target, Examples):
        return target.tolist()
    strategy = models.RecommendStrategy
    wanted = models.RecommendInput(
        positive=[vector.tolist() for vector in target.like],
        negative=[vector.tolist() for vector in target.unlike],
        strategy=strategy.AVERAGE_VECTOR if target.strategy == AVERAGE else strategy.BEST_SCORE,
    )
    return models.RecommendQuery(recommend=wanted)


def _hit(point: models.ScoredPoint) -> Hit:
    return Hit(_hex(point.id), point.score, Payload.from_json(point.payload or {}), _vector(point.vector))


def _label_filter(label: str | None) -> models.Filter | None:
    if label is None:
        return None
    return models.Filter(must=[models.FieldCondition(key="label", match=models.MatchValue(value=label))])


def _filter(selection: Selection) -> models.Filter | None:
    made: list[Any] = []
    for each in conditions(selection):
        if each.is_missing:
            made.append(models.IsEmptyCondition(is_empty=models.PayloadField(key=each.key)))
        elif each.value is not None:
            made.append(models.FieldCondition(key=each.key, match=models.MatchValue(value=each.value)))
        elif each.words is not None:
            made.append(models.FieldCondition(key=each.key, match=models.MatchText(text=each.words)))
        else:
            made.append(models.FieldCondition(key=each.key, range=models.Range(gte=each.at_least, lt=each.below)))
    return models.Filter(must=made) if made else None


def _uuid(id: str) -> str:
    return f"{id[:8]}-{id[8:12]}-{id[12:16]}-{id[16:20]}-{id[20:]}"


def _hex(point_id: Any) -> str:
    return str(point_id).replace("-", "")


def _vector(vector: Any) -> np.ndarray | None:
    return None if vector is None else np.asarray(vector, dtype=np.float32)
