"""What Prometheus may ask a worker or the portal. Names are listed in docs/operations.md.

A worker serves them on LOOKALIKE_METRICS_PORT when it is set, the portal under /metrics.
"""

from typing import Any

import redis
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from workers.queue.liveness import canary_age_s, living_workers
from workers.queue.questions import queue_lengths

REGISTRY = CollectorRegistry()

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

TASK_SECONDS = Histogram(
    "lookalike_task_seconds",
    "Time that tasks spend in each stage: wait, decode, embed, search, all",
    ["task", "stage"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
BATCH_IMAGES = Histogram(
    "lookalike_batch_images",
    "Images that share one forward pass",
    buckets=(1, 2, 4, 8, 16, 32, 64),
    registry=REGISTRY,
)
IMAGES = Counter("lookalike_images", "Images that jobs have finished", ["result"], registry=REGISTRY)
FAILURES = Counter("lookalike_failures", "What went wrong, by kind", ["reason"], registry=REGISTRY)
HTTP_SECONDS = Histogram(
    "lookalike_http_seconds",
    "Time to answer a request of the portal",
    ["route", "method", "status"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
MODEL = Gauge(
    "lookalike_model_info",
    "1 for the model and collection that this worker serves",
    ["model", "collection", "device", "precision"],
    registry=REGISTRY,
)
GPU_MEMORY = Gauge("lookalike_gpu_memory_bytes", "Memory that this worker holds on its GPU", registry=REGISTRY)


class SystemCollector(Collector):
    """What is in Redis and the same whoever is asked: queues and workers."""

    def __init__(self, server: Any) -> None:
        self._redis = server

    def collect(self) -> list[GaugeMetricFamily]:
        length = GaugeMetricFamily("lookalike_queue_length", "Tasks that wait", labels=["queue"])
        age = GaugeMetricFamily(
            "lookalike_queue_age_seconds", "Time since a canary last went through the queue", labels=["queue"]
        )
        for queue, waiting in queue_lengths(self._redis).items():
            length.add_metric([queue], waiting)
            silent_s = canary_age_s(self._redis, queue)
            if silent_s is not None:
                age.add_metric([queue], silent_s)
        up = GaugeMetricFamily("lookalike_worker_up", "1 for each worker that lives", labels=["worker"])
        for worker in living_workers(self._redis):
            up.add_metric([worker.id], 1)
        return [length, age, up]


def observe_model(model: str, collection: str, device: str, precision: str) -> None:
    """Says which model this worker serves; the one before is no longer said."""
    MODEL.clear()
    MODEL.labels(model, collection, device, precision).set(1)
    if device == "cuda":
        import torch

        GPU_MEMORY.set(torch.cuda.memory_allocated())


def exposition(server: Any) -> bytes:
    """This process's metrics and the system's, as Prometheus reads them."""
    system = CollectorRegistry()
    try:
        system.register(SystemCollector(server))
        return generate_latest(REGISTRY) + generate_latest(system)
    except redis.RedisError:
        return generate_latest(REGISTRY)


def serve(port: int, server: Any) -> None:
    """Answers Prometheus on a port of this process."""
    REGISTRY.register(SystemCollector(server))
    start_http_server(port, registry=REGISTRY)
