"""`python -m deploy.cli.watching`: the watcher that `lookalike up` keeps running; its settings: the environment."""

import signal
import sys
from pathlib import Path
from types import FrameType

from deploy.cli.watching.follow import Following
from deploy.cli.watching.watcher import Watcher
from ml.errors import LookalikeError
from workers import settings as settings_module
from workers.client import Client
from workers.settings import Settings


def main() -> int:
    """Watches until SIGTERM or SIGINT. Returns the exit status."""
    try:
        settings = settings_module.load()
        watcher = watcher_of(settings)
    except LookalikeError as error:
        sys.stderr.write(f"lookalike watch: {error}\n")
        return 1

    def end(_number: int, _frame: FrameType | None) -> None:
        watcher.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    watcher.run()
    return 0


def watcher_of(settings: Settings) -> Watcher:
    """What LOOKALIKE_WATCH and its companions ask for."""
    how = Following(in_place=settings.watch_photos == "in-place", trash_removed=settings.watch_removed == "trash")
    folders = [Path(folder) for folder in settings.watch]
    return Watcher(Client(settings), folders, how, say=lambda line: print(line, flush=True))  # noqa: T201 - its log


if __name__ == "__main__":
    sys.exit(main())
