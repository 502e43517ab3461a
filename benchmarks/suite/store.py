"""Vectors searched: the embedded store in float32 and by codes, beside FAISS, hnswlib and usearch; by gallery size."""

import functools
import importlib
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks.processes import processor_s, rss_mb
from benchmarks.store import clustered, recall
from benchmarks.suite.record import Curve, Effort, Found, race
from workers.store import Payload, Point
from workers.store.codes import LARGE_BYTES
from workers.store.edge import EdgeStore
from workers.store.optimize import optimise

_LABELS = 100  # so that a label is a hundredth of the vectors
_LINKS, _WHILE_BUILDING, _WHILE_SEARCHING = 16, 100, 128
_MS = 1000


@dataclass
class Engine:
    """Something that holds vectors. `similarities`: of the ten nearest; `of_label`: the same among those of a label."""

    similarities: Callable[[np.ndarray], Sequence[float]]
    of_label: Callable[[np.ndarray], object] | None
    disk_mb: float
    build_s: float = 0.0
    memory_mb: float = 0.0


def measure(effort: Effort) -> Found:
    """100,000 x 512 beside peers, then sizes up to it, then the graph of the default model's vectors."""
    count, dim = effort.of(100_000, 3000), effort.of(512, 32)
    vectors = clustered(count, dim)
    queries = _queries(vectors, 100)
    missing = {
        "usearch filtered by label": "its Python package has no filter",
        "1,000,000 vectors": "takes longer than all the rest: `python benchmarks/store.py --points 1000000`",
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        makers: dict[str, Callable[[np.ndarray, Path], Engine]] = {
            "ours, Edge by int8 codes, the best compared exactly": lambda v, f: _edge(v, f, "int8"),
            "ours, Edge in float32": lambda v, f: _edge(v, f, "none"),
            "FAISS flat: exact": _faiss_flat,
            "FAISS HNSW": _faiss_hnsw,
            "hnswlib": _hnswlib,
            "usearch": _usearch,
        }
        engines: dict[str, Engine] = {}
        for number, (name, make) in enumerate(makers.items()):
            at = folder / str(number)
            at.mkdir()
            try:
                engines[name] = _built(make, vectors, at)
            except ImportError as error:
                missing[name] = f"not installed: {error}"
        found = race(
            {name: lambda engine=engine: _p50_ms(engine.similarities, queries) for name, engine in engines.items()},  # type: ignore[misc]
            effort,
            what=f"a search among {count:,} x {dim}, p50",
            unit="ms",
        )
        for name, engine in engines.items():
            found.extra[name] = _columns(engine, queries, vectors)
        beside = _beside_a_build(vectors, folder / "beside", queries)
        curve = _by_size(vectors, folder, effort)
        graph_s = _graph_s(effort.of(98_000, 2000), effort.of(1280, 64), folder / "wide")
    ours = next(iter(engines))
    figures = {
        "recall@10 by codes": found.extra[ours]["recall@10"] or 0.0,
        "p50 beside a graph build, over quiet": beside,
        "graph of 98,000 x 1,280, s": graph_s[0],
        "graph of 98,000 x 1,280, processor s": graph_s[1],
    }
    return Found({"engines": found}, {"gallery-size": curve}, figures, missing)


def _queries(vectors: np.ndarray, count: int) -> np.ndarray:
    some = vectors[:: max(1, len(vectors) // count)][:count]
    noise = np.random.default_rng(1).normal(size=some.shape).astype(np.float32)
    queries = some + 0.3 * noise / np.sqrt(vectors.shape[1])
    return (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)


def _p50_ms(query: Callable[[np.ndarray], object], queries: np.ndarray) -> float:
    return statistics.median(_times_ms(query, queries))


def _times_ms(query: Callable[[np.ndarray], object], queries: np.ndarray) -> list[float]:
    took = []
    for vector in queries:
        began = time.perf_counter()
        query(vector)
        took.append(_MS * (time.perf_counter() - began))
    return took


def _built(make: Callable[[np.ndarray, Path], Engine], vectors: np.ndarray, folder: Path) -> Engine:
    before, began = _resident_mb(), time.perf_counter()
    engine = make(vectors, folder)
    engine.build_s = engine.build_s or time.perf_counter() - began
    engine.similarities(vectors[0])
    engine.memory_mb = _resident_mb() - before
    return engine


def _columns(engine: Engine, queries: np.ndarray, vectors: np.ndarray) -> dict[str, float | None]:
    return {
        "p99, ms": float(np.quantile(_times_ms(engine.similarities, queries), 0.99)),
        "recall@10": recall(lambda vector: list(engine.similarities(vector)), queries, vectors),
        "of a label, ms": _p50_ms(engine.of_label, queries) if engine.of_label else None,
        "build, s": engine.build_s,
        "memory, MB": engine.memory_mb,
        "disk, MB": engine.disk_mb,
    }


def _edge(vectors: np.ndarray, folder: Path, codes: str) -> Engine:
    """With its graph, built as the worker builds it."""
    store = _filled(vectors, folder, codes)
    began = time.perf_counter()
    _build_graph(store, codes)
    build_s = time.perf_counter() - began
    return Engine(
        lambda vector: [hit.similarity for hit in store.query("photos", vector, 10)],
        lambda vector: store.query("photos", vector, 10, label="7"),
        _disk_mb(folder),
        build_s,
    )


def _filled(vectors: np.ndarray, folder: Path, codes: str) -> EdgeStore:
    store = EdgeStore(folder, codes=codes)
    store._closed.set()  # no graph is built in the background: `_build_graph` does it
    store.ensure("photos", vectors.shape[1])
    for start in range(0, len(vectors), 500):
        rows = enumerate(vectors[start : start + 500], start)
        points = [Point(f"{n:032x}", row, Payload(f"{n}.jpg", str(n % _LABELS))) for n, row in rows]
        store.upsert("photos", points)
    return store


def _build_graph(store: EdgeStore, codes: str) -> None:
    shard = store._shard("photos")
    optimise(shard.copy_for_optimising(), shard.dim, codes, until=threading.Event())
    shard.exchange()


def _beside_a_build(vectors: np.ndarray, folder: Path, queries: np.ndarray) -> float:
    """p50 of searches while a graph is built anew, over p50 without: of a collection that has grown by a tenth."""
    store = _filled(vectors[: len(vectors) * 9 // 10], folder, "int8")
    _build_graph(store, "int8")

    def search(vector: np.ndarray) -> object:
        return store.query("photos", vector, 10)

    quiet = _p50_ms(search, queries)
    grown = vectors[len(vectors) * 9 // 10 :]
    store.upsert("photos", [Point(f"{n:032x}", row, Payload(f"{n}.jpg", None)) for n, row in enumerate(grown, 10**9)])
    builder = threading.Thread(target=_build_graph, args=(store, "int8"))
    builder.start()
    took = _times_ms(search, queries[:20])  # a small graph may be there before the first search
    while builder.is_alive():
        took += _times_ms(search, queries[:20])
        builder.join(0.05)
    store.close()
    return statistics.median(took) / quiet


def _by_size(vectors: np.ndarray, folder: Path, effort: Effort) -> Curve:
    """A graph is built from the size on from which a worker builds one."""
    series: dict[str, list[tuple[float, float]]] = {"ours, as it chooses": [], "ours, exact": [], "FAISS flat": []}
    for count in [size for size in (1000, 10_000, 30_000, 100_000) if size <= len(vectors)]:
        some = vectors[:count]
        queries = _queries(some, 50)
        store = _filled(some, folder / f"size-{count}", "auto")
        rounds = range(effort.rounds)

        def search(vector: np.ndarray, store: EdgeStore = store) -> object:
            return store.query("photos", vector, 10)

        exact = min(_p50_ms(search, queries) for _ in rounds)
        series["ours, exact"].append((count, exact))
        shard = store._shard("photos")
        if 4 * some.size > LARGE_BYTES:
            optimise(shard.copy_for_optimising(), shard.dim, "int8", until=threading.Event())
            shard.exchange()
        series["ours, as it chooses"].append((count, min(_p50_ms(search, queries) for _ in rounds)))
        store.close()
        flat = _faiss_flat(some, folder)
        series["FAISS flat"].append((count, min(_p50_ms(flat.similarities, queries) for _ in rounds)))
    return Curve("a search in the store", "vectors of 512 numbers", "ms", series)


def _graph_s(count: int, dim: int, folder: Path) -> tuple[float, float]:
    """Seconds and processor seconds of building a graph in a process of its own."""
    store = _filled(clustered(count, dim), folder, "int8")
    began, spent = time.perf_counter(), processor_s(os.getpid())
    _build_graph(store, "int8")
    took, spent = time.perf_counter() - began, processor_s(os.getpid()) - spent
    store.close()
    return took, spent


def _faiss_flat(vectors: np.ndarray, folder: Path) -> Engine:
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return _faiss(index, len(vectors), folder, faiss.SearchParameters)


def _faiss_hnsw(vectors: np.ndarray, folder: Path) -> Engine:
    index = faiss.IndexHNSWFlat(vectors.shape[1], _LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = _WHILE_BUILDING, _WHILE_SEARCHING
    index.add(vectors)
    params = functools.partial(faiss.SearchParametersHNSW, efSearch=_WHILE_SEARCHING)
    return _faiss(index, len(vectors), folder, params)


def _faiss(index: Any, count: int, folder: Path, params: Callable[..., Any]) -> Engine:
    wanted = params(sel=faiss.IDSelectorBatch(np.arange(7, count, _LABELS)))
    faiss.write_index(index, str(folder / "index"))
    return Engine(
        lambda vector: list(index.search(vector[None], 10)[0][0]),
        lambda vector: index.search(vector[None], 10, params=wanted),
        _taken_mb(folder / "index"),
    )


def _hnswlib(vectors: np.ndarray, folder: Path) -> Engine:
    hnswlib = importlib.import_module("hnswlib")
    index = hnswlib.Index("ip", vectors.shape[1])
    index.init_index(len(vectors), M=_LINKS, ef_construction=_WHILE_BUILDING)
    index.add_items(vectors)
    index.set_ef(_WHILE_SEARCHING)
    index.save_index(str(folder / "index"))
    return Engine(
        lambda vector: list(1 - index.knn_query(vector, 10)[1][0]),
        lambda vector: index.knn_query(vector, 10, filter=lambda id: id % _LABELS == 7),
        _taken_mb(folder / "index"),
    )


def _usearch(vectors: np.ndarray, folder: Path) -> Engine:
    usearch = importlib.import_module("usearch.index")
    index = usearch.Index(
        ndim=vectors.shape[1],
        metric="ip",
        dtype="f32",
        connectivity=_LINKS,
        expansion_add=_WHILE_BUILDING,
        expansion_search=_WHILE_SEARCHING,
    )
    index.add(np.arange(len(vectors)), vectors)
    index.save(str(folder / "index"))
    return Engine(lambda vector: list(1 - index.search(vector, 10).distances), None, _taken_mb(folder / "index"))


def _taken_mb(path: Path) -> float:
    """Size of a file, which is then removed."""
    size = path.stat().st_size / 1e6
    path.unlink()
    return size


def _disk_mb(folder: Path) -> float:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file()) / 1e6


def _resident_mb() -> float:
    return rss_mb(os.getpid()) or float("nan")
