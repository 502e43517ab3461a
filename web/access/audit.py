"""Who changed what: one line of the log for each change, with the name of the token that made it.

The request's own line, with the same id, tells how it ended.
"""

import logging
from collections.abc import Sequence

from web.access.principals import current_principal

log = logging.getLogger(__name__)

_SHOWN = 20  # ids on a line


def changes(action: str, subjects: Sequence[str] = (), **details: object) -> None:
    """Says what is about to be changed.

    Args:
        action: the verb: add, label, delete, train, publish, roll back, stop, sign in, sign out.
        subjects: ids of photos, a job, a model.
        details: what else is worth knowing.
    """
    principal = current_principal()
    shown = [*subjects[:_SHOWN], f"and {len(subjects) - _SHOWN} more"] if len(subjects) > _SHOWN else subjects
    said = [f"{name}={value}" for name, value in details.items() if value is not None]
    log.info("%s: %s %s", principal.name if principal else "nobody", action, " ".join([*said, *shown]))
