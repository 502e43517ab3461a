"""Qdrant's gRPC interface before the embedded engine: beside tests/qdrant_over_http.py, for the calls that we make.

`python -m tests.qdrant_over_grpc HOST PORT FOLDER` serves both, HTTP on the port and gRPC on the one behind it, as the
real server does. Where QDRANT__SERVICE__API_KEY is set, calls must show it.
"""

import hmac
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from flask import request
from flask.typing import ResponseReturnValue
from qdrant_client import grpc as qdrant
from qdrant_client.conversions.conversion import payload_to_grpc
from werkzeug.serving import make_server

from tests import qdrant_over_http
from workers.messages import Selection
from workers.store import Hit, Payload, Place, Point, Query, Stored
from workers.store.edge import EdgeStore
from workers.store.examples import Examples

# grpc's own server is strict about pings; the real one is not.
_OPTIONS = [("grpc.http2.min_ping_interval_without_data_ms", 1000), ("grpc.http2.max_ping_strikes", 0)]


class _Points(qdrant.PointsServicer):
    def __init__(self, store: EdgeStore) -> None:
        self._store = store

    def Upsert(self, request: Any, context: Any) -> Any:
        points = [
            Point(_hex(p.id), np.asarray(p.vectors.vector.dense.data or p.vectors.vector.data, np.float32), _payload(p))
            for p in request.points
        ]
        return self._written(request, lambda: self._store.upsert(request.collection_name, points))

    def OverwritePayload(self, request: Any, context: Any) -> Any:
        payloads = {_hex(id): _payload(request) for id in request.points_selector.points.ids}
        return self._written(request, lambda: self._store.set_payloads(request.collection_name, payloads))

    def Delete(self, request: Any, context: Any) -> Any:
        ids = [_hex(id) for id in request.points.points.ids]
        return self._written(request, lambda: self._store.delete(request.collection_name, ids))

    def CreateFieldIndex(self, request: Any, context: Any) -> Any:
        return self._written(request, lambda: None)

    def QueryBatch(self, request: Any, context: Any) -> Any:
        queries = [_query(each) for each in request.query_points]
        answers = zip(queries, self._store.query_batch(request.collection_name, queries), strict=True)
        return qdrant.QueryBatchResponse(result=[qdrant.BatchResult(result=_scored(*each)) for each in answers])

    def Get(self, request: Any, context: Any) -> Any:
        with_vectors = request.with_vectors.enable
        found = self._store.fetch(request.collection_name, [_hex(id) for id in request.ids], with_vectors=with_vectors)
        return qdrant.GetResponse(
            result=[qdrant.RetrievedPoint(**_shown(point, with_vectors=with_vectors)) for point in found.values()]
        )

    def Scroll(self, request: Any, context: Any) -> Any:
        if request.HasField("order_by"):
            start = request.order_by.start_from
            place = Place(start.integer or int(start.float), "") if request.order_by.HasField("start_from") else None
            selection = _selection(request.filter)
            listed = self._store.newest(request.collection_name, selection, after=place, limit=request.limit)
            return qdrant.ScrollResponse(
                result=[qdrant.RetrievedPoint(**_shown(point, with_vectors=False)) for point in listed]
            )
        start = int(_hex(request.offset), 16) if request.HasField("offset") else 0
        after = f"{start - 1:032x}" if start else None
        points = self._store.points(
            request.collection_name, label=_label(request.filter), after=after, limit=request.limit + 1
        )
        found = list(points)
        page, rest = found[: request.limit], found[request.limit :]
        return qdrant.ScrollResponse(
            result=[qdrant.RetrievedPoint(**_shown(point, with_vectors=False)) for point in page],
            next_page_offset=_id(rest[0].id) if rest else None,
        )

    def Count(self, request: Any, context: Any) -> Any:
        count = self._store.count(request.collection_name, _selection(request.filter))
        return qdrant.CountResponse(result=qdrant.CountResult(count=count))

    def Facet(self, request: Any, context: Any) -> Any:
        is_label = request.key == "label"
        labels = (self._store.labels if is_label else self._store.folders)(request.collection_name)
        hits = [
            qdrant.FacetHit(value=qdrant.FacetValue(string_value=label), count=count) for label, count in labels.items()
        ]
        return qdrant.FacetResponse(hits=hits)

    @staticmethod
    def _written(request: Any, write: Callable[[], None]) -> Any:
        """A server answers a write with `wait=false` at once, and may lose it: here it always does."""
        if not request.wait:
            return qdrant.PointsOperationResponse(result=qdrant.UpdateResult(status=qdrant.UpdateStatus.Acknowledged))
        write()
        return qdrant.PointsOperationResponse(result=qdrant.UpdateResult(status=qdrant.UpdateStatus.Completed))


class _Collections(qdrant.CollectionsServicer):
    def __init__(self, store: EdgeStore) -> None:
        self._store = store
        self._created: dict[str, Any] = {}
        self._aliases: dict[str, str] = {}

    def List(self, request: Any, context: Any) -> Any:
        described = [qdrant.CollectionDescription(name=name) for name in self._store.collections()]
        return qdrant.ListCollectionsResponse(collections=described)

    def CollectionExists(self, request: Any, context: Any) -> Any:
        exists = self._store.exists(request.collection_name)
        return qdrant.CollectionExistsResponse(result=qdrant.CollectionExists(exists=exists))

    def Get(self, request: Any, context: Any) -> Any:
        name = request.collection_name
        if not self._store.exists(name):
            context.abort(grpc.StatusCode.NOT_FOUND, f"Collection `{name}` doesn't exist!")
        asked = self._created.get(name)
        on_disk = asked.vectors_config.params.on_disk if asked else False
        vectors = qdrant.VectorParams(size=self._store.dim(name), distance=qdrant.Distance.Cosine, on_disk=on_disk)
        params = qdrant.CollectionParams(
            vectors_config=qdrant.VectorsConfig(params=vectors),
            shard_number=asked.shard_number if asked else 1,
            replication_factor=asked.replication_factor if asked else 1,
            write_consistency_factor=asked.write_consistency_factor if asked else 1,
        )
        config = qdrant.CollectionConfig(
            params=params,
            hnsw_config=qdrant.HnswConfigDiff(m=16, ef_construct=100, full_scan_threshold=10000),
            wal_config=qdrant.WalConfigDiff(wal_capacity_mb=32, wal_segments_ahead=0),
            optimizer_config=qdrant.OptimizersConfigDiff(
                deleted_threshold=0.2,
                vacuum_min_vector_number=1000,
                default_segment_number=0,
                flush_interval_sec=5,
            ),
            quantization_config=asked.quantization_config if asked and asked.HasField("quantization_config") else None,
        )
        info = qdrant.CollectionInfo(
            status=qdrant.CollectionStatus.Green,
            optimizer_status=qdrant.OptimizerStatus(ok=True),
            segments_count=1,
            points_count=self._store.count(name),
            config=config,
        )
        return qdrant.GetCollectionInfoResponse(result=info)

    def Create(self, request: Any, context: Any) -> Any:
        self._created[request.collection_name] = request
        self._store.ensure(request.collection_name, request.vectors_config.params.size)
        return qdrant.CollectionOperationResponse(result=True)

    def Update(self, request: Any, context: Any) -> Any:
        if request.HasField("quantization_config"):
            wanted = self._created[request.collection_name].quantization_config
            wanted.scalar.CopyFrom(request.quantization_config.scalar)
        return qdrant.CollectionOperationResponse(result=True)

    def Delete(self, request: Any, context: Any) -> Any:
        self._store.drop(request.collection_name)
        return qdrant.CollectionOperationResponse(result=True)

    def UpdateAliases(self, request: Any, context: Any) -> Any:
        for action in request.actions:
            if action.HasField("delete_alias"):
                self._aliases.pop(action.delete_alias.alias_name, None)
            else:
                self._aliases[action.create_alias.alias_name] = action.create_alias.collection_name
        return qdrant.CollectionOperationResponse(result=True)

    def ListAliases(self, request: Any, context: Any) -> Any:
        named = [
            qdrant.AliasDescription(alias_name=alias, collection_name=collection)
            for alias, collection in self._aliases.items()
        ]
        return qdrant.ListAliasesResponse(aliases=named)


class _KeyAsked(grpc.ServerInterceptor):
    """Lets through who shows the key."""

    def __init__(self, key: str) -> None:
        self._key = key

        def refuse(_request: Any, context: Any) -> None:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "Must provide an API key or an Authorization bearer token")

        self._refusal = grpc.unary_unary_rpc_method_handler(refuse)

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        given = dict(details.invocation_metadata).get("api-key", "")
        return continuation(details) if hmac.compare_digest(given, self._key) else self._refusal


def make_grpc_server(store: EdgeStore, address: str, key: str = "") -> tuple[grpc.Server, int]:
    """A server over an open store, not started, and its port. It takes no more calls at once than it has threads."""
    interceptors = [_KeyAsked(key)] if key else []
    server = grpc.server(ThreadPoolExecutor(32, "grpc"), interceptors=interceptors, options=_OPTIONS)
    qdrant.add_PointsServicer_to_server(_Points(store), server)
    qdrant.add_CollectionsServicer_to_server(_Collections(store), server)
    return server, server.add_insecure_port(address)


def _hex(id: Any) -> str:
    return str(id.uuid).replace("-", "")


def _id(id: str) -> Any:
    return qdrant.PointId(uuid=f"{id[:8]}-{id[8:12]}-{id[12:16]}-{id[16:20]}-{id[20:]}")


def _payload(carrier: Any) -> Payload:
    return Payload.from_json(
        {name: getattr(value, str(value.WhichOneof("kind"))) for name, value in carrier.payload.items()}
    )


def _query(request: Any) -> Query:
    target: Any
    if request.query.HasField("recommend"):
        wanted = request.query.recommend
        like, unlike = (
            [np.asarray(each.dense.data, np.float32) for each in some] for some in (wanted.positive, wanted.negative)
        )
        target = Examples(like, unlike, "best" if wanted.strategy == qdrant.RecommendStrategy.BestScore else "average")
    else:
        target = np.asarray(request.query.nearest.dense.data, np.float32)
    return Query(target, request.limit, _label(request.filter), request.with_vectors.enable)


def _scored(query: Query, hits: list[Hit]) -> list[Any]:
    with_vectors = query.with_vectors
    return [qdrant.ScoredPoint(score=hit.similarity, **_shown(hit, with_vectors=with_vectors)) for hit in hits]


def _shown(point: Hit | Stored, *, with_vectors: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": _id(point.id), "payload": payload_to_grpc(point.payload.to_json())}
    if with_vectors and point.vector is not None:
        dense = qdrant.VectorOutput(dense=qdrant.DenseVector(data=point.vector.tolist()))
        shown["vectors"] = qdrant.VectorsOutput(vector=dense)
    return shown


def _selection(filter: Any) -> Selection:
    """What the conditions of a filter came from."""
    found: dict[str, Any] = {}
    for each in filter.must:
        if each.HasField("is_empty"):
            found["unlabelled"] = True
        elif each.field.HasField("range"):
            name, unit = {"newest": ("added", 1e6), "taken": ("taken", 1)}[each.field.key]
            for end, side in (("from", "gte"), ("before", "lt")):
                if each.field.range.HasField(side):
                    found[f"{name}_{end}"] = getattr(each.field.range, side) / unit
        elif each.field.match.HasField("text"):
            found["text"] = f"{found.get('text', '')} {each.field.match.text}"
        else:
            found[each.field.key] = each.field.match.keyword
    return Selection(**found)


def _label(condition: Any) -> str | None:
    return condition.must[0].field.match.keyword if condition.must else None


def main(host: str, port: int, folder: Path) -> None:
    """Serves until SIGTERM or SIGINT."""
    key = os.environ.get("QDRANT__SERVICE__API_KEY", "")
    store = EdgeStore(folder)
    app = qdrant_over_http.make_app(store)

    @app.before_request
    def guard() -> ResponseReturnValue | None:
        if request.path == "/readyz" or not key or hmac.compare_digest(request.headers.get("api-key", ""), key):
            return None
        return {"status": {"error": "Must provide an API key"}}, 401

    @app.get("/readyz")
    def ready() -> str:
        return "all shards are ready\n"

    over_http = make_server(host, port, app, threaded=True)
    over_grpc, _ = make_grpc_server(store, f"{host}:{port + 1}", key)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=over_http.shutdown).start())
    over_grpc.start()
    over_http.serve_forever()
    over_grpc.stop(grace=2).wait()
    store.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
