"""How the processes of a training on this machine alone find each other: through a store on loopback.

The store that torch starts by itself listens on every address of the machine, and whoever reaches it can write into it.
It takes a socket that listens already, so it is given one. A cluster of many machines uses Ray's own way.
"""

import datetime
import socket
from typing import Any

import ray
from ray.train.torch import TorchConfig
from ray.train.torch import config as ray_torch
from torch import distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]

LOOPBACK = "127.0.0.1"
_stores: list[TCPStore] = []  # the first process keeps its own until it ends


class LoopbackBackend(ray_torch._TorchBackend):
    """Ray's torch backend with another start."""

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """Called where the training was begun, when all processes run."""
        world_size = len(worker_group)
        worker_group.execute(ray_torch._set_torch_distributed_env_vars)
        port = worker_group.execute_single(0, start_store, world_size, backend_config.timeout_s)
        ray.get(
            [
                worker_group.execute_single_async(
                    rank, _join, backend_config.backend, port, rank, world_size, backend_config.timeout_s
                )
                for rank in range(world_size)
            ]
        )


class LoopbackConfig(TorchConfig):
    """A `TorchConfig` for processes of one machine."""

    @property
    def backend_cls(self) -> type[LoopbackBackend]:
        return LoopbackBackend


def torch_config(backend: str) -> TorchConfig:
    """For the Ray that is connected: on loopback if all of it is."""
    addresses = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    return LoopbackConfig(backend=backend) if addresses == {LOOPBACK} else TorchConfig(backend=backend)


def start_store(world_size: int, timeout_s: int) -> int:
    """Starts the store in this process. Returns its port."""
    listener = socket.create_server((LOOPBACK, 0), backlog=512)
    port = int(listener.getsockname()[1])
    timeout = datetime.timedelta(seconds=timeout_s)
    _stores[:] = [
        TCPStore(
            LOOPBACK,
            port,
            world_size,
            is_master=True,
            timeout=timeout,
            wait_for_workers=False,
            master_listen_fd=listener.detach(),
        )
    ]
    return port


def _join(backend: str, port: int, rank: int, world_size: int, timeout_s: int) -> None:
    timeout = datetime.timedelta(seconds=timeout_s)
    store = _stores[0] if rank == 0 else TCPStore(LOOPBACK, port, world_size, timeout=timeout)
    distributed.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=timeout)
