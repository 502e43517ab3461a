"""The embedded store at 100,000 vectors: speed and recall of searches, before, while and after its graph is built.

    python benchmarks/store.py [--points 100000] [--dim 512]

Vectors are clustered, as those of photos are. Side by side: Qdrant Edge exact, Edge with the HNSW graph, a NumPy
product, and FAISS (flat and HNSW). Recall@10 is against exact neighbours, ties counted as equal.
"""

import argparse
import json
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np

from workers.store import Payload, Point
from workers.store.codes import chosen
from workers.store.edge import EdgeStore
from workers.store.optimize import optimise


def clustered(count: int, dim: int, seed: int = 0) -> np.ndarray:
    """float32 [count, dim], unit rows around a thousand centres."""
    dice = np.random.default_rng(seed)
    centres = dice.normal(size=(1000, dim)).astype(np.float32)
    rows = centres[dice.integers(0, 1000, count)] + 0.7 * dice.normal(size=(count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def timed(query: Callable[[np.ndarray], object], queries: np.ndarray) -> dict[str, float]:
    """Milliseconds a query, one at a time."""
    took = []
    for vector in queries:
        began = time.perf_counter()
        query(vector)
        took.append(1000 * (time.perf_counter() - began))
    return {"p50 ms": round(statistics.median(took), 2), "p99 ms": round(statistics.quantiles(took, n=100)[98], 2)}


def recall(query: Callable[[np.ndarray], list[float]], queries: np.ndarray, vectors: np.ndarray) -> float:
    """Share of the ten returned similarities that reach the tenth best one."""
    shares = []
    for vector in queries:
        tenth = np.partition(vectors @ vector, -10)[-10]
        shares.append(np.mean([similarity >= tenth - 1e-5 for similarity in query(vector)]))
    return round(float(np.mean(shares)), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    options = parser.parse_args()
    vectors = clustered(options.points, options.dim)
    noise = np.random.default_rng(1).normal(size=(300, options.dim)).astype(np.float32)
    queries = vectors[:: len(vectors) // 300][:300] + 0.3 * noise / np.sqrt(options.dim)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    with tempfile.TemporaryDirectory() as folder:
        report = measure(Path(folder), vectors, queries)
    print(json.dumps({"machine": platform.processor() or platform.machine(), **report}, indent=2))


def measure(folder: Path, vectors: np.ndarray, queries: np.ndarray) -> dict[str, object]:
    store = EdgeStore(folder)
    store._closed.set()  # no graph is built in the background: `build` does it, once, and looks
    store.ensure("photos", vectors.shape[1])

    def edge(vector: np.ndarray) -> list[float]:
        return [hit.similarity for hit in store.query("photos", vector, 10)]

    report: dict[str, object] = {"points": len(vectors), "dim": vectors.shape[1]}
    began = time.perf_counter()
    for start in range(0, len(vectors), 500):
        rows = vectors[start : start + 500]
        store.upsert(
            "photos", [Point(f"{start + n:032x}", row, Payload(f"{n}.jpg", None)) for n, row in enumerate(rows)]
        )
    report["upserts/s"] = round(len(vectors) / (time.perf_counter() - began))
    report["NumPy product"] = timed(lambda vector: np.argpartition(vectors @ vector, -10)[-10:], queries)
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    report["FAISS flat"] = timed(lambda vector: flat.search(vector[None], 10), queries)
    report["Edge exact"] = timed(edge, queries)
    report["building"] = build(store, edge, queries)
    report["Edge HNSW"] = timed(edge, queries) | {"recall@10": recall(edge, queries, vectors)}
    graph = faiss.IndexHNSWFlat(vectors.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = 100
    graph.add(vectors)
    graph.hnsw.efSearch = 128
    found = timed(lambda vector: graph.search(vector[None], 10), queries)
    similarities = lambda vector: list(graph.search(vector[None], 10)[0][0])  # noqa: E731
    report["FAISS HNSW"] = found | {"recall@10": recall(similarities, queries, vectors)}
    store.close()
    began = time.perf_counter()
    store = EdgeStore(folder)
    store.query("photos", queries[0], 10)
    report["ready after restart s"] = round(time.perf_counter() - began, 2)
    store.close()
    return report


def build(store: EdgeStore, query: Callable[[np.ndarray], object], queries: np.ndarray) -> dict[str, float]:
    """Builds the graph as the worker does, with searches meanwhile: the longest wait of one is what matters."""
    took: list[float] = []
    stop = threading.Event()

    def search() -> None:
        while not stop.wait(0.01):
            began = time.perf_counter()
            query(queries[len(took) % len(queries)])
            took.append(1000 * (time.perf_counter() - began))

    thread = threading.Thread(target=search)
    thread.start()
    began = time.perf_counter()
    shard = store._shard("photos")
    optimise(shard.copy_for_optimising(), shard.dim, chosen("auto", shard.count, shard.dim), until=threading.Event())
    shard.exchange()
    seconds = time.perf_counter() - began
    stop.set()
    thread.join()
    return {
        "s": round(seconds, 1),
        "longest search ms": round(max(took), 1),
        "p99 ms": round(float(np.quantile(took, 0.99)), 1),
    }


if __name__ == "__main__":
    main()
