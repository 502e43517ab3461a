"""Stand-ins for what the portal keeps in Redis: sessions, counters and what looked for duplicates."""

import itertools
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ml.images import decode
from ml.images.copies import Appearance, compare
from ml.storage import open_storage
from workers.answers import APART, Answers
from workers.messages import JobStatus, Pair

if TYPE_CHECKING:
    from tests.web.stand_in import StandInClient


class StandInSessions:
    """workers.client.sessions.Sessions, in this process."""

    def __init__(self) -> None:
        self._holders: dict[str, str] = {}

    def begin(self, holder: str) -> str:
        id = secrets.token_urlsafe(32)
        self._holders[id] = holder
        return id

    def holder(self, id: str) -> str | None:
        return self._holders.get(id)

    def end(self, id: str) -> None:
        self._holders.pop(id, None)


class StandInRedis(dict[str, str]):
    """Four commands of Redis, in this process."""

    def ping(self) -> bool:
        return True

    def set(self, key: str, value: str, ex: int) -> None:
        self[key] = value

    def delete(self, key: str) -> None:
        self.pop(key, None)


class StandInDuplicates:
    """workers.client.duplicates.Duplicates, which finds at once."""

    def __init__(self, client: "StandInClient") -> None:
        self._client = client
        self._job: str | None = None
        self._from = 1.0
        self._apart = Answers(open_storage(client.settings.storage_url), folder=APART)

    def start(self, score_from: float) -> str:
        self._from = score_from
        self._job = self._client._note("duplicates", 256, 0, [])
        return self._job

    def keep_apart(self, ids: Sequence[str], *, are_apart: bool = True) -> None:
        self._apart.give_all(itertools.combinations(ids, 2), True if are_apart else None)

    def latest(self) -> JobStatus | None:
        return self._job and self._client.job(self._job)

    def pairs(self, job: str) -> list[Pair]:
        images = sorted((self._client.image(id) for id in self._client._indexed), key=lambda image: image.id)
        looks = {each.id: Appearance(decode(self._client.thumbnail(each.id))) for each in images}
        found = []
        for one, other in itertools.combinations(images, 2):
            if (copy := compare(looks[one.id], looks[other.id], score_from=self._from)) is not None:
                found.append(Pair(one.id, other.id, one.path, other.path, 0.9, copy.tier, copy.score))
        apart = {answer.pair for answer in self._apart.all()}
        return [pair for pair in found if (pair.id, pair.other_id) not in apart]
