"""What the operating system refuses, as one line and a hint: disks, permissions, limits."""

import errno
import os

_HINTS = {
    errno.ENOSPC: "free space on that disk, or choose another: LOOKALIKE_HOME for what is kept, TMPDIR for the rest",
    errno.EROFS: "set LOOKALIKE_HOME to a folder that can be written",
    errno.EACCES: "correct the permissions, or set LOOKALIKE_HOME to a folder of your own",
    errno.EPERM: "correct the permissions, or set LOOKALIKE_HOME to a folder of your own",
    errno.EMFILE: "raise the limit of open files: ulimit -n 4096",
    errno.ENFILE: "end other programs, or raise the system's limit of open files",
    errno.EAGAIN: "end other programs, or raise the limit of processes: ulimit -u",
    errno.ENOMEM: "end other programs that take memory, then run it again",
    errno.EIO: "the disk may be failing: look at the system's log",
}
_HINTS[errno.EDQUOT] = _HINTS[errno.ENOSPC]
_ANY = "look at the file or folder that it names; --debug shows where it happened"


def told(error: OSError | MemoryError) -> tuple[str, str]:
    """The message and the hint of an error that no code of ours expected at this place."""
    if isinstance(error, MemoryError):
        return os.strerror(errno.ENOMEM), _HINTS[errno.ENOMEM]
    reason = error.strerror or str(error) or type(error).__name__
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return " -> ".join(names) + ": " * bool(names) + reason, _HINTS.get(error.errno or 0, _ANY)
