"""A stand-in for a Qdrant server where none can be had: Qdrant's HTTP interface before the embedded engine.

`python -m tests.qdrant_over_http PORT FOLDER`. It keeps what it acknowledges, as the server does, and speaks the calls
that `workers.store.server` makes through the real qdrant-client. The real server is tested wherever
LOOKALIKE_QDRANT_URL names one.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from flask import Flask, request
from flask.typing import ResponseReturnValue
from werkzeug.serving import make_server

from workers.messages import Selection
from workers.store import Hit, Payload, Place, Point, Query, Stored
from workers.store.edge import EdgeStore
from workers.store.examples import Examples


def make_app(store: EdgeStore) -> Flask:
    """The server's application over an open store."""
    app = Flask(__name__)
    created: dict[str, dict[str, Any]] = {}
    aliases: dict[str, str] = {}

    def answer(result: Any) -> dict[str, Any]:
        return {"result": result, "status": "ok", "time": 0.0}

    def label_of(body: dict[str, Any]) -> str | None:
        return selection_of(body).label

    def selection_of(body: dict[str, Any]) -> Selection:
        """What the conditions of a filter came from."""
        found: dict[str, Any] = {}
        for each in (body.get("filter") or {}).get("must") or ():
            if "is_empty" in each:
                found["unlabelled"] = True
            elif "range" in each:
                name, unit = {"newest": ("added", 1e6), "taken": ("taken", 1)}[each["key"]]
                for end, side in (("from", "gte"), ("before", "lt")):
                    if each["range"].get(side) is not None:
                        found[f"{name}_{end}"] = each["range"][side] / unit
            else:
                match = each["match"]
                if "text" in match:
                    found["text"] = f"{found.get('text', '')} {match['text']}"
                else:
                    found[each["key"]] = match["value"]
        return Selection(**found)

    def record(point: Hit | Stored, *, with_vector: Any) -> dict[str, Any]:
        shown: dict[str, Any] = {"id": _dashed(point.id), "payload": point.payload.to_json()}
        if with_vector and point.vector is not None:
            shown["vector"] = point.vector.tolist()
        if isinstance(point, Hit):
            shown |= {"score": point.similarity, "version": 0}
        return shown

    @app.get("/collections")
    def collections() -> dict[str, Any]:
        return answer({"collections": [{"name": name} for name in store.collections()]})

    @app.get("/collections/<name>/exists")
    def exists(name: str) -> dict[str, Any]:
        return answer({"exists": store.exists(name)})

    @app.get("/collections/<name>")
    def describe(name: str) -> dict[str, Any]:
        asked = created.get(name, {})
        vectors = asked.get("vectors", {}) | {"size": store.dim(name), "distance": "Cosine"}
        laid_out = {
            k: asked[k] for k in ("shard_number", "replication_factor", "write_consistency_factor") if k in asked
        }
        optimizer = {"deleted_threshold": 0.2, "vacuum_min_vector_number": 1000, "default_segment_number": 0}
        config = {
            "params": {"vectors": vectors} | laid_out,
            "quantization_config": asked.get("quantization_config"),
            "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
            "optimizer_config": optimizer | {"flush_interval_sec": 5},
        }
        return answer(
            {
                "status": "green",
                "optimizer_status": "ok",
                "segments_count": 1,
                "points_count": store.count(name),
                "config": config,
                "payload_schema": {},
            }
        )

    @app.put("/collections/<name>")
    def create(name: str) -> dict[str, Any]:
        created[name] = request.get_json()
        store.ensure(name, created[name]["vectors"]["size"])
        return answer(True)

    @app.patch("/collections/<name>")
    def update(name: str) -> dict[str, Any]:
        created.setdefault(name, {}).update(request.get_json())
        return answer(True)

    @app.post("/collections/aliases")
    def change_aliases() -> dict[str, Any]:
        for action in request.get_json()["actions"]:
            if "delete_alias" in action:
                aliases.pop(action["delete_alias"]["alias_name"], None)
            else:
                aliases[action["create_alias"]["alias_name"]] = action["create_alias"]["collection_name"]
        return answer(True)

    @app.get("/aliases")
    def list_aliases() -> dict[str, Any]:
        return answer({"aliases": [{"alias_name": a, "collection_name": c} for a, c in aliases.items()]})

    @app.delete("/collections/<name>")
    def drop(name: str) -> dict[str, Any]:
        store.drop(name)
        return answer(True)

    @app.put("/collections/<name>/index")
    def index(name: str) -> dict[str, Any]:
        return answer({"operation_id": 0, "status": "completed"})

    @app.before_request
    def lose_what_nobody_waits_for() -> ResponseReturnValue | None:
        """A server answers a write with `wait=false` at once, and may lose it: here it always does."""
        is_write = request.path.endswith(("/points", "/points/payload", "/points/delete")) and (
            request.method == "PUT" or request.path.endswith("/delete")
        )
        if is_write and request.args.get("wait") != "true":
            return {"result": {"operation_id": 0, "status": "acknowledged"}, "status": "ok", "time": 0.0}
        return None

    @app.put("/collections/<name>/points")
    def upsert(name: str) -> dict[str, Any]:
        points = [
            Point(_hex(p["id"]), np.asarray(p["vector"], np.float32), Payload.from_json(p["payload"]))
            for p in request.get_json()["points"]
        ]
        store.upsert(name, points)
        return answer({"operation_id": 0, "status": "completed"})

    @app.put("/collections/<name>/points/payload")
    def overwrite_payload(name: str) -> dict[str, Any]:
        body = request.get_json()
        store.set_payloads(name, {_hex(id): Payload.from_json(body["payload"]) for id in body["points"]})
        return answer({"operation_id": 0, "status": "completed"})

    @app.post("/collections/<name>/points/delete")
    def delete(name: str) -> dict[str, Any]:
        store.delete(name, [_hex(id) for id in request.get_json()["points"]])
        return answer({"operation_id": 0, "status": "completed"})

    def query_of(body: dict[str, Any]) -> Query:
        target: Any
        if wanted := body["query"].get("recommend"):
            like, unlike = (np.asarray(wanted.get(each) or [], np.float32) for each in ("positive", "negative"))
            target = Examples(list(like), list(unlike), wanted["strategy"].partition("_")[0])
        else:
            target = np.asarray(body["query"]["nearest"], np.float32)
        return Query(target, body["limit"], label_of(body), bool(body.get("with_vector")))

    @app.post("/collections/<name>/points/query/batch")
    def query(name: str) -> dict[str, Any]:
        queries = [query_of(each) for each in request.get_json()["searches"]]
        found = zip(queries, store.query_batch(name, queries), strict=True)
        return answer([{"points": [record(hit, with_vector=q.with_vectors) for hit in hits]} for q, hits in found])

    @app.post("/collections/<name>/points")
    def retrieve(name: str) -> dict[str, Any]:
        body = request.get_json()
        found = store.fetch(name, [_hex(id) for id in body["ids"]], with_vectors=bool(body.get("with_vector")))
        return answer([record(point, with_vector=body.get("with_vector")) for point in found.values()])

    @app.post("/collections/<name>/points/scroll")
    def scroll(name: str) -> dict[str, Any]:
        body = request.get_json()
        if order := body.get("order_by"):
            assert (order["key"], order["direction"]) == ("newest", "desc")
            start = order.get("start_from")
            place = None if start is None else Place(start, "")  # every id comes behind none
            listed = store.newest(name, selection_of(body), after=place, limit=body["limit"])
            return answer({"points": [record(p, with_vector=False) for p in listed], "next_page_offset": None})
        start = int(_hex(body["offset"]), 16) if body.get("offset") else 0
        after = f"{start - 1:032x}" if start else None
        found = list(store.points(name, label=label_of(body), after=after, limit=body["limit"] + 1))
        page, rest = found[: body["limit"]], found[body["limit"] :]
        following = _dashed(rest[0].id) if rest else None
        return answer({"points": [record(p, with_vector=False) for p in page], "next_page_offset": following})

    @app.post("/collections/<name>/points/count")
    def count(name: str) -> dict[str, Any]:
        return answer({"count": store.count(name, selection_of(request.get_json()))})

    @app.post("/collections/<name>/facet")
    def facet(name: str) -> dict[str, Any]:
        counts = store.folders(name) if request.get_json()["key"] == "folder" else store.labels(name)
        hits = [{"value": value, "count": number} for value, number in counts.items()]
        return answer({"hits": hits})

    return app


def _hex(id: str) -> str:
    return id.replace("-", "")


def _dashed(id: str) -> str:
    return f"{id[:8]}-{id[8:12]}-{id[12:16]}-{id[16:20]}-{id[20:]}"


if __name__ == "__main__":
    make_server("127.0.0.1", int(sys.argv[1]), make_app(EdgeStore(Path(sys.argv[2]))), threaded=True).serve_forever()
