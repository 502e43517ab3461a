"""The key that signs session cookies: made once per home, shared by the portal's processes, readable by its owner."""

import os
import secrets
from pathlib import Path


def session_key(home: Path) -> str:
    """The key in `<home>/run/session.key`, made if it is not there. Two processes that start at once agree on it."""
    path = home / "run" / "session.key"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        draft = path.with_name(f"session.key.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # Fails where the other process was first; a reader never sees half a key.
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text()
