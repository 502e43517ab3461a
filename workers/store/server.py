"""A Qdrant server, through qdrant-client: gRPC where it is open, HTTP otherwise.

Every write waits until the server has applied it (`wait=True`): a `wait=false` answer may be lost. Reads and idempotent
writes are tried again with growing, jittered pauses while the server is away; all writes here are idempotent.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import numpy as np
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from workers.settings import Settings
from workers.store import Hit, Payload, Point, Store, Stored, StoreFailed, page_sizes

_BATCH = 256  # points per request: 512-d float32 with payload is about 0.6 MB
_TRIES = 5
_ALIAS = "gallery"
# How many times more candidates than asked for are compared exactly, by kind of code.
_OVERSAMPLING = {"int8": 2.0, "binary": 4.0}


@dataclass(frozen=True)
class Layout:
    """How the server keeps collections made from now on; those that exist stay as they are.

    Attributes:
        shards: parts that it may spread over its nodes.
        replicas: copies of every shard. A write is acknowledged when most of them have it.
        on_disk: whether float32 vectors lie on disk, and only what searches need first in memory.
        quantization: codes to search by, always in memory: none, int8 (a quarter of the bytes) or binary (a 32nd). The
            best candidates are compared by their float32 vectors.
    """

    shards: int = 1
    replicas: int = 1
    on_disk: bool = False
    quantization: str = "none"

    @classmethod
    def of(cls, settings: Settings) -> "Layout":
        on_disk = settings.qdrant_vectors == "disk"
        return cls(settings.qdrant_shards, settings.qdrant_replicas, on_disk, settings.qdrant_quantization)

    def options(self) -> dict[str, Any]:
        """As `create_collection` takes it."""
        codes: Any = None
        if self.quantization == "int8":
            scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
            codes = models.ScalarQuantization(scalar=scalar)
        elif self.quantization == "binary":
            codes = models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
        return {
            "shard_number": self.shards,
            "replication_factor": self.replicas,
            "write_consistency_factor": self.replicas // 2 + 1,
            "quantization_config": codes,
        }

    def search_params(self) -> models.SearchParams | None:
        """How a search uses the codes; a collection without them ignores it."""
        if self.quantization == "none":
            return None
        how = models.QuantizationSearchParams(rescore=True, oversampling=_OVERSAMPLING[self.quantization])
        return models.SearchParams(quantization=how)


class ServerStore(Store):
    """Collections of one Qdrant server, or of qdrant-client's local mode, which makes the same calls."""

    def __init__(self, client: QdrantClient, layout: Layout | None = None) -> None:
        self._client = client
        self._layout = layout or Layout()

    @classmethod
    def connect(cls, url: str, api_key: str = "", layout: Layout | None = None) -> "ServerStore":
        """Raises StoreFailed when nothing answers at the address."""
        # Qdrant's gRPC port is the one behind its HTTP port: 6333 and 6334.
        grpc_port = (urlsplit(url).port or 6333) + 1
        for prefer_grpc in (True, False):
            client = QdrantClient(
                url=url,
                api_key=api_key or None,
                prefer_grpc=prefer_grpc,
                grpc_port=grpc_port,
                timeout=30,
                check_compatibility=False,
            )
            try:
                client.get_collections()
                return cls(client, layout)
            except (grpc.RpcError, ApiException, httpx.HTTPError) as error:
                failure = error
        raise StoreFailed(
            f"no Qdrant server answers at {url}: {failure}", hint="check LOOKALIKE_QDRANT_URL", passes=True
        )

    def ensure(self, collection: str, dim: int) -> None:
        if self._do(self._client.collection_exists, collection):
            known = self.dim(collection)
            if known != dim:
                raise StoreFailed(
                    f"collection {collection} holds vectors of {known} numbers, not {dim}",
                    hint="publish the model again: it makes a collection of its own",
                )
            return
        on_disk = self._layout.on_disk
        vectors = models.VectorParams(size=dim, distance=models.Distance.COSINE, on_disk=on_disk)
        try:
            self._client.create_collection(collection, vectors_config=vectors, **self._layout.options())
        except (UnexpectedResponse, grpc.RpcError, ValueError):
            if not self._do(self._client.collection_exists, collection):  # another worker was faster
                raise
        self._do(self._client.create_payload_index, collection, "label", models.PayloadSchemaType.KEYWORD)

    def exists(self, collection: str) -> bool:
        return bool(self._do(self._client.collection_exists, collection))

    def dim(self, collection: str) -> int:
        return int(self._do(self._client.get_collection, collection).config.params.vectors.size)

    def drop(self, collection: str) -> None:
        self._do(self._client.delete_collection, collection)

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

    def query(
        self, collection: str, vector: np.ndarray, limit: int, *, label: str | None = None, with_vectors: bool = False
    ) -> list[Hit]:
        found = self._do(
            self._client.query_points,
            collection,
            query=vector.tolist(),
            limit=limit,
            query_filter=_label_filter(label),
            search_params=self._layout.search_params(),
            with_payload=True,
            with_vectors=with_vectors,
        ).points
        return [Hit(_hex(p.id), p.score, Payload.from_json(p.payload), _vector(p.vector)) for p in found]

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

    def count(self, collection: str) -> int:
        return int(self._do(self._client.count, collection, exact=True).count)

    def labels(self, collection: str) -> dict[str, int]:
        hits = self._do(self._client.facet, collection, "label", limit=100_000, exact=True).hits
        used = [hit for hit in hits if hit.count]  # labels of deleted points linger with a count of 0
        return {str(hit.value): hit.count for hit in sorted(used, key=lambda hit: (-hit.count, str(hit.value)))}

    def announce(self, collection: str) -> None:
        """Points the alias `gallery` at it, in one step."""
        changes = [
            models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=_ALIAS)),
            models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=collection, alias_name=_ALIAS)),
        ]
        self._do(self._client.update_collection_aliases, changes)

    def close(self) -> None:
        self._client.close()

    @staticmethod
    def _do(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The call's answer; tried again while the server is away.

        Raises:
            StoreFailed: it rejects the request, or stays away.
        """
        for attempt in range(_TRIES):
            try:
                return call(*args, **kwargs)
            except UnexpectedResponse as error:
                if error.status_code is not None and error.status_code < 500 and error.status_code != 429:
                    raise StoreFailed(f"the Qdrant server rejected the request: {error}", hint="see its log") from error
                failure: Exception = error
            except grpc.RpcError as error:
                code = error.code() if isinstance(error, grpc.Call) else None
                if code not in _PASSING:
                    raise StoreFailed(f"the Qdrant server rejected the request: {error}", hint="see its log") from error
                failure = error
            except (ApiException, httpx.HTTPError) as error:
                failure = error
            if attempt + 1 < _TRIES:
                time.sleep(random.uniform(0.5, 1.0) * 0.2 * 2**attempt)  # noqa: S311 - jitter, no secret
        raise StoreFailed(
            f"the Qdrant server does not answer: {failure}",
            hint="check LOOKALIKE_QDRANT_URL and its log",
            passes=True,
        )


_PASSING = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
)


def _label_filter(label: str | None) -> models.Filter | None:
    if label is None:
        return None
    return models.Filter(must=[models.FieldCondition(key="label", match=models.MatchValue(value=label))])


def _uuid(id: str) -> str:
    return f"{id[:8]}-{id[8:12]}-{id[12:16]}-{id[16:20]}-{id[20:]}"


def _hex(point_id: Any) -> str:
    return str(point_id).replace("-", "")


def _vector(vector: Any) -> np.ndarray | None:
    return None if vector is None else np.asarray(vector, dtype=np.float32)
