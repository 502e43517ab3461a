"""What a command says of a change to several photos: which were left out and why, and whether searches follow."""

from typing import TYPE_CHECKING

from deploy.cli.console import Console
from ml.errors import LookalikeError

if TYPE_CHECKING:
    from workers.client import Changed


def told(console: Console, done: "Changed") -> "Changed":
    """Names what was left out.

    Raises:
        NotFound: nothing could be done to any of them.
        LookalikeError: searches do not follow.
    """
    from workers.errors import NotFound

    if done.skipped and not done.ids:
        first = done.skipped[0]
        raise NotFound(f"nothing was changed: {first.id}: {first.reason}", hint="search again for the ids")
    for each in done.skipped:
        console.say(f"left out: {each.id} {f'({each.name})' if each.name else ''}: {each.reason}".replace(" :", ":"))
    status = done.status
    if status is not None and (status.failed or status.state != "done"):
        reason = status.failures[0].reason if status.failures else f"the job was {status.state}"
        raise LookalikeError(f"not everything was changed: {reason}", hint="see lookalike verify --repair")
    return done
