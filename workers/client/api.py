"""The portal's and the command line's side of the queue: enqueue, wait, follow a job. Loads no torch and no Qdrant.

Changes go to the gallery first and are durable there before anything is enqueued; the job then brings the collections
in line. A call that needs a worker raises Unavailable when none answers.
"""

import contextlib
import functools
import importlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import redis

from ml import images
from ml.errors import LookalikeError
from ml.model.registry import Active, ModelRecord, Registry
from ml.storage import open_storage
from workers.answers import APART, Answers
from workers.client.changes import Changed, Changes
from workers.client.connection import QueueConnection
from workers.client.duplicates import Duplicates
from workers.client.index_job import OpenJob
from workers.client.labelling import Labelling
from workers.client.outage import Lookout
from workers.client.publishing import Publishing
from workers.client.rpc import RpcClient
from workers.client.searching import Searches
from workers.client.sessions import Sessions
from workers.client.status import suggestions, system_status
from workers.client.training import Trainings
from workers.coverage import Coverage
from workers.errors import NotFound, Refused
from workers.gallery import Added, Gallery, limits
from workers.messages import (
    AVERAGE,
    Failure,
    Finding,
    GalleryImage,
    JobStatus,
    LabelCount,
    Page,
    SavedQuery,
    SearchResult,
    Selection,
    SystemStatus,
)
from workers.queue.damage import DamageNotes
from workers.queue.jobs import PREFIXES
from workers.queue.liveness import images_counted
from workers.queue.locks import SharedLocks
from workers.saved_queries import SavedQueries
from workers.settings import Settings

if TYPE_CHECKING:
    from workers.client.throttle import Throttle

EVERYTHING = Selection()
_LISTED = 500  # images in one answer


def observe_request(route: str, method: str, status: int, seconds: float) -> None:
    """Counts a request of the portal for Prometheus."""
    from workers.metrics import HTTP_SECONDS

    HTTP_SECONDS.labels(route, method, str(status)).observe(seconds)


class Client(Publishing):
    """One for a process. Constructing it never blocks.

    Args:
        is_interactive: gives up on a queue that does not answer after a second, as the portal does; otherwise calls
            wait out a restart of it. `status` never takes longer than that.
    """

    def __init__(self, settings: Settings, *, is_interactive: bool = False) -> None:
        self.settings = settings
        self.connection = QueueConnection(settings, is_interactive=is_interactive)
        damage = DamageNotes(self.connection.redis)
        self.gallery = Gallery.open(settings, damage, SharedLocks(self.connection.redis).hold)
        self.registry = Registry(settings.models_url, damage)
        self.jobs = self.connection.jobs
        storage, hold = open_storage(settings.storage_url), SharedLocks(self.connection.redis).hold
        self.answers = Answers(storage, hold)
        self.coverage = Coverage(storage)
        self.queries = SavedQueries(storage)
        self.duplicates = Duplicates(self.connection, Answers(storage, hold, APART))
        self._counted: int | None = None
        self.changes = Changes(self.connection, self.gallery, self.duplicates, self.queries)
        self.lookout = Lookout(self.connection)
        self._rpc = RpcClient(self.connection, self.lookout)
        self.labelling = Labelling(self._rpc)
        self._searches = Searches(self._rpc, settings.max_upload_mb)
        self.trainings = Trainings(settings, self.jobs)
        self.sessions = Sessions(self.connection)
        if is_interactive:  # no visitor shall wait for what is imported
            importlib.import_module("ml.model.bundle")
            _ = self.connection.app

    # What a search does without is imported when it is needed: a command starts a tenth of a second sooner.

    @functools.cached_property
    def failures(self) -> "Throttle":
        """Counts who gave wrong tokens."""
        from workers.client.throttle import Throttle

        return Throttle.on_redis(self.settings.redis_url)

    # Searching and looking

    def search(
        self,
        image: bytes | None = None,
        *,
        id: str | None = None,
        k: int = 6,
        label: str | None = None,
        rerank: bool = False,
        box: Sequence[float] | None = None,
        more: Sequence[bytes | str] = (),
        unlike: Sequence[bytes | str] = (),
        strategy: str = AVERAGE,
        timeout_s: float = 30.0,
    ) -> SearchResult:
        """The k images most like a photo, or like an image of the gallery, or like several of them.

        Args:
            image: a photo's bytes; or
            id: of an image of the gallery.
            k: number of answers.
            label: only images with this label.
            rerank: reorder by k-reciprocal encoding; of one photo alone.
            box: the part of it to search with: left, top, width and height, in shares of the upright image when none is
                above 1, else in pixels.
            more: further photos or ids that are looked for, too. With these or `unlike`, the images of the query are
                left out of the answer, and it claims no probabilities.
            unlike: photos or ids that are not looked for.
            strategy: "average" for what all have in common, "best" for what is like any one of them.
            timeout_s: how long to wait.

        Raises:
            UnreadableImage: a photo is none that we accept.
            BadBox: the box is no part of the image.
            NotFound: an image is not in the gallery.
            Refused: too many photos, or several that are to be re-ranked.
            Unavailable: no worker answers.
            Overloaded: too many searches are waiting.
        """
        return self._searches.search(
            id or "" if image is None else image,
            k=k,
            label=label,
            rerank=rerank,
            box=box,
            more=more,
            unlike=unlike,
            strategy=strategy,
            timeout_s=timeout_s,
        )

    def labels(self) -> list[LabelCount]:
        """Labels of the active collection, most frequent first."""
        return [LabelCount(label, count) for label, count in self._rpc.call("labels", {}, 10.0).items()]

    def folders(self) -> dict[str, int]:
        """folder -> images of the active collection that came from it, most frequent first."""
        counts: dict[str, int] = self._rpc.call("folders", {}, 10.0)
        return counts

    def page(self, selection: Selection = EVERYTHING, after: str | None = None, limit: int = 60) -> Page:
        """Images of the gallery, newest first. `after` is the `next` of the page before."""
        request = {"selection": selection.to_json(), "after": after, "limit": limit}
        return Page.from_json(self._rpc.call("browse", request, 10.0))

    def images(
        self, label: str | None = None, after: str | None = None, limit: int = 60
    ) -> tuple[list[GalleryImage], str | None]:
        """A page of the gallery, newest first, and what to give as `after` for the next one."""
        page = self.page(Selection(label=label), after, limit)
        return list(page.images), page.next

    def image(self, id: str) -> GalleryImage:
        """What is known of an image. Raises NotFound."""
        return self.gallery.image(id)

    def thumbnail(self, id: str) -> bytes:
        """JPEG bytes, without metadata. Raises NotFound."""
        return self.gallery.thumbnail(id)

    def view(self, id: str) -> bytes:
        """A large copy as JPEG, without metadata. A worker makes it when it is first asked for. Raises NotFound."""
        self.gallery.image(id)
        view = self.gallery.view(id)
        if view is None:
            self._rpc.call("make_view", {"id": id}, 30.0)
            view = self.gallery.view(id)
        if view is None:
            raise NotFound(f"there is no image {id}", hint="it may have been deleted meanwhile")
        return view

    def original(self, id: str) -> bytes:
        """The bytes as they came. Raises NotFound."""
        return self.gallery.original(id)

    # Changing the gallery

    def add(
        self, data: bytes | Path, *, path: str, label: str | None, by_person: bool = False, in_place: bool = False
    ) -> Added:
        """Keeps an image durably, or where it is; `index` then makes it searchable. See Gallery.add.

        Raises:
            UnreadableImage: it is none that we accept.
            StorageFailed: the storage refuses.
            Refused: `in_place` with storage that is not on this machine.
        """
        if in_place and not self.settings.storage_url.startswith("file://"):
            raise Refused(
                f"photos cannot stay in place with the storage {self.settings.storage_url}",
                hint="workers elsewhere do not see them: index without --in-place",
            )
        return self.gallery.add(data, path=path, label=label, by_person=by_person, in_place=in_place)

    @contextlib.contextmanager
    def indexing(self) -> Iterator[OpenJob]:
        """A job to be filled piece by piece while workers are already at it; closed at the end of the block.

        It is stopped when the block is left by Ctrl-C. After any other error it goes on with what it was given: that is
        stored, and nobody else knows of it.
        """
        open_job = OpenJob(self.connection)
        try:
            yield open_job
        except Exception:
            with contextlib.suppress(LookalikeError):
                open_job.close()
            raise
        except BaseException:
            with contextlib.suppress(LookalikeError):
                open_job.close()
                self.stop(open_job.job)
            raise
        open_job.close()

    def index(self, ids: Iterable[str], failures: Sequence[Failure] = ()) -> str:
        """Starts a job that makes kept images searchable. Returns its id."""
        with self.indexing() as open_job:
            for id in ids:
                open_job.append(id)
            for failure in failures:
                open_job.fail(failure.path, failure.reason)
        return open_job.job

    def label(self, ids: Sequence[str], label: str | None) -> Changed:
        """Gives images a label, and waits until searches show it. What is gone is named in the answer."""
        return self._awaited(self.changes.relabel(dict.fromkeys(ids, label)))

    def replace_label(self, label: str, by: str | None) -> Changed:
        """Gives every image with a label another one, perhaps one that is in use, or none.

        One job, which `undo` takes back; waits until searches show it. Raises NotFound when no image has the label.
        """
        ids: list[str] = []
        after: str | None = None
        while True:
            page = self.page(Selection(label=label), after, limit=_LISTED)
            ids += [image.id for image in page.images]
            if (after := page.next) is None:
                break
        if not ids:
            raise NotFound(
                f"no image has the label {label}", hint="lookalike labels, and GET /api/v1/labels, list those in use"
            )
        return self.label(ids, by)

    def delete(self, ids: Sequence[str]) -> Changed:
        """Moves images to the trash, and waits until no search finds them. What is gone is named in the answer.

        The answer's job is what `undo` takes; `changes` lists, restores and empties the trash.
        """
        return self._awaited(self.changes.delete(ids))

    def undo(self, job: str) -> JobStatus:
        """Takes back what `label` or `delete` changed, and waits until searches follow. Raises NotFound."""
        return self.wait_while_somebody_works(self.changes.undo(job))

    def restore(self, ids: Sequence[str]) -> Changed:
        """Takes images out of the trash, and waits until searches find them. The answer names what is not there."""
        return self._awaited(self.changes.restore(ids))

    def _awaited(self, changed: Changed) -> Changed:
        """With its job's status. A portal does not wait for workers that are away: the change is made."""
        if changed.job is None:
            return changed
        return replace(changed, status=self.wait_while_somebody_works(changed.job))

    def verify(self, repair: bool = False, *, quick: bool = False) -> str:
        """Starts a job that compares the gallery with the active collection. Returns its id.

        The finished job's `detail` has the counts of workers.tasks.verify, `findings` names what they are about.

        Args:
            repair: bring in line, and mend what can be mended.
            quick: read no originals and compute no vectors.
        """
        params, size = {"repair": repair, "quick": quick}, 16 if quick else 1
        return self.connection.start_job("verify", params, PREFIXES, is_counted=False, chunk_size=size)

    def findings(self, job: str) -> list[Finding]:
        """What a job of `verify` named, in order of kinds and paths."""
        with self.connection.errors_reported():
            findings = [Finding.from_json(finding) for finding in self.jobs.collected(job)]
        return sorted(findings, key=lambda finding: (finding.kind, finding.path, finding.key))

    def save_query(self, image: bytes | None = None, *, id: str | None = None, name: str = "") -> SavedQuery:
        """Keeps a photo, or an image of the gallery, as a query that a new model is shown by before it is published.

        Raises:
            UnreadableImage: the photo is none that we accept.
            NotFound: the image is not in the gallery.
        """
        if image is None:
            known = self.image(id or "")
            return self.queries.keep_image(known.id, known.name)
        images.probe(image, limits(self.settings))
        return self.queries.keep_photo(image, name)

    # Models

    def models(self) -> list[ModelRecord]:
        """Registered models."""
        return self.registry.models()

    def active(self) -> Active | None:
        """The model and collection that answer searches; None before the first start."""
        return self.registry.active()

    def answers_since_training(self) -> int:
        """How many answers *same* and *not the same* were given since a model was last trained on the gallery."""
        trained = [model.lineage for model in self.models() if model.lineage.get("data", {}).get("name") == "gallery"]
        return self.answers.count(since=max((float(each.get("registered_at", 0)) for each in trained), default=0.0))

    # The whole

    def status(self) -> SystemStatus:
        """The whole system in one object. Raises nothing: what does not answer is among the problems."""
        found = system_status(self.connection, self.registry)
        self._counted = found.images or self._counted
        return found

    def photos_known(self) -> int | None:
        """How many images there were when somebody last could count them, also while queue or store is away."""
        with contextlib.suppress(redis.RedisError, ValueError):
            self._counted = images_counted(self.connection.redis) or self._counted
        return self._counted

    def suggestions(self) -> tuple[str, ...]:
        """What would make searches better, in words."""
        active = self.active()
        return () if active is None else suggestions(self.registry, active.model, sum(1 for _ in self.gallery.ids()))

    def metrics(self) -> bytes:
        """What Prometheus may know of this process and of the queue, in its text format.

        A queue that does not answer is left out: its absence is what alerts look for.
        """
        from workers.metrics import exposition

        return exposition(self.connection.redis)
