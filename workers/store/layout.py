"""How a Qdrant server keeps collections: shards, replicas, and codes to search by."""

from dataclasses import dataclass
from typing import Any

from qdrant_client import models

from workers.settings import Settings
from workers.store.codes import chosen, oversampling


@dataclass(frozen=True)
class Layout:
    """How the server keeps collections made from now on; those that exist stay as they are.

    Attributes:
        shards: parts that it may spread over its nodes.
        replicas: copies of every shard. A write is acknowledged when most of them have it.
        on_disk: whether float32 vectors lie on disk, and only what searches need first in memory.
        quantization: codes to search by, always in memory: none, int8 (a quarter of the bytes), binary (a 32nd), or
            auto: `ServerStore.tend` gives int8 to a collection that has become large.
    """

    shards: int = 1
    replicas: int = 1
    on_disk: bool = False
    quantization: str = "auto"

    @classmethod
    def of(cls, settings: Settings) -> "Layout":
        on_disk = settings.qdrant_vectors == "disk"
        return cls(settings.qdrant_shards, settings.qdrant_replicas, on_disk, settings.qdrant_quantization)

    def options(self) -> dict[str, Any]:
        """As `create_collection` takes it."""
        return {
            "shard_number": self.shards,
            "replication_factor": self.replicas,
            "write_consistency_factor": self.replicas // 2 + 1,
            "quantization_config": codes_of(chosen(self.quantization, 0, 0)),
        }

    def search_params(self) -> models.SearchParams | None:
        """How a search uses the codes; a collection without them ignores it."""
        factor = oversampling(self.quantization)
        if factor is None:
            return None
        how = models.QuantizationSearchParams(rescore=True, oversampling=factor)
        return models.SearchParams(quantization=how)


def codes_of(kind: str) -> models.ScalarQuantization | models.BinaryQuantization | None:
    """What the server is asked for: none, int8 or binary."""
    if kind == "int8":
        scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
        return models.ScalarQuantization(scalar=scalar)
    if kind == "binary":
        return models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
    return None
