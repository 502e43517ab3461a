"""The client side of the queue: enqueue, wait, follow a job. Loads no torch and no Qdrant.

`Client` is all that the portal and the command line need. The portal sees this package alone, so the errors that it
shows, and logging and request ids like the workers', are here too.
"""

from ml.errors import LookalikeError, UnknownModel
from ml.images import BadBox, UnreadableImage
from ml.images.likeness import COPY_FROM, NEAR_COPY, SAME_IMAGE
from ml.records import Damaged
from ml.storage import StorageFailed
from workers.client.api import Client, observe_request
from workers.client.changes import Changed
from workers.client.grouping import copy_groups
from workers.client.missed_photos import folders, retry_folder, whereabouts
from workers.client.retrying import can_retry, retry
from workers.client.searching import MOST_EXAMPLES
from workers.client.training import WAITING
from workers.errors import Busy, EngineAway, NotFound, Overloaded, Refused, Unavailable
from workers.logs import configure as configure_logging
from workers.logs import request as logged_as
from workers.tokens import ApiToken, Role

__all__ = [
    "COPY_FROM",
    "MOST_EXAMPLES",
    "NEAR_COPY",
    "SAME_IMAGE",
    "WAITING",
    "ApiToken",
    "BadBox",
    "Busy",
    "Changed",
    "Client",
    "Damaged",
    "EngineAway",
    "LookalikeError",
    "NotFound",
    "Overloaded",
    "Refused",
    "Role",
    "StorageFailed",
    "Unavailable",
    "UnknownModel",
    "UnreadableImage",
    "can_retry",
    "configure_logging",
    "copy_groups",
    "folders",
    "logged_as",
    "observe_request",
    "retry",
    "retry_folder",
    "whereabouts",
]
