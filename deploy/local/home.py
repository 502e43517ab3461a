"""The home folder: made when missing, and closed to the other users of this machine.

It holds every photo, the portal's session key and the queue's password. Folders are 0700 and files 0600 whatever the
umask: programs of ours run with `PRIVATE_UMASK`, and what an earlier version made is closed here.
"""

import contextlib
import os
import stat
from pathlib import Path

from ml.errors import LookalikeError

PRIVATE_UMASK = 0o077
_OURS = frozenset(
    ["cache", "demo-photos", "logs", "qdrant", "run", "runs", "storage", "sweeps", "tensorboard", "valkey", "watched"]
)


def prepare(home: Path) -> None:
    """Makes the home with the folders of a running system in it, and closes it.

    A home in which other things lie, too, keeps its own mode; the folders in it that are ours are closed one by one.

    Raises:
        LookalikeError: it cannot be written.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("run", "logs"):
            (home / name).mkdir(mode=0o700, exist_ok=True)
        names = {entry.name for entry in home.iterdir()}
    except OSError as error:
        raise LookalikeError(
            f"cannot write to {home}: {error.strerror}", hint="set LOOKALIKE_HOME to a folder of your own"
        ) from error
    is_all_ours = names <= _OURS
    for folder in [home] if is_all_ours else [home / name for name in names & _OURS]:
        if stat.S_IMODE(folder.stat().st_mode) == 0o700:  # so an image's home may be read-only
            continue
        with contextlib.suppress(PermissionError):  # somebody else's, who lets us write here
            folder.chmod(0o700)


def stand_in_for_user_folder() -> None:
    """Gives this process, and those that it starts, a HOME where there is none: libraries want one for their caches.

    A made-up user of a container has none. Without LOOKALIKE_HOME nothing is changed: whoever reads the settings then
    hears of it.
    """
    try:
        Path("~").expanduser()
    except RuntimeError:
        if own := os.environ.get("LOOKALIKE_HOME"):
            os.environ["HOME"] = str(Path(own).absolute())
