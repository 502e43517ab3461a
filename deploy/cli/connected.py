"""The client of the running system, for commands that do little else than ask it."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from deploy.cli.console import Console

if TYPE_CHECKING:
    from workers.client import Client


@contextlib.contextmanager
def client_of(console: Console) -> Iterator["Client"]:
    """Connects, or starts the embedded parts for as long as the block lasts. Commands are imported without them."""
    from deploy.local.connection import connect
    from workers import settings
    from workers.client import Client

    with connect(settings.load(), say=console.step) as connected:
        yield Client(connected)
