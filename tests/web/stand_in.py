"""A stand-in for the workers' side: a real gallery in a folder, and answers that need neither queue nor model.

The portal is tested against it for what the portal itself does; tests/e2e runs the same pages over the real system.
"""

import contextlib
import dataclasses
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from types import SimpleNamespace
from typing import Any

from PIL import Image
from prometheus_client import generate_latest

from ml.errors import UnknownModel
from ml.images import decode, probe, thumbnail
from ml.model.registry import Active, ModelRecord
from ml.storage import open_storage
from tests.web.stand_in_answers import by_similarity, colour_vector, is_selected, judged, model_record, page_start
from tests.web.stand_in_records import StandInDuplicates, StandInRedis, StandInSessions
from workers.answers import Answers
from workers.client import Refused, Unavailable
from workers.client.api import EVERYTHING
from workers.client.changes import Changed, Changes
from workers.client.throttle import Throttle
from workers.coverage import Coverage
from workers.errors import NotFound
from workers.gallery import Added, Gallery
from workers.messages import (
    Failure,
    GalleryImage,
    JobStatus,
    LabelCount,
    Outlier,
    Outliers,
    Page,
    PreviewedQuery,
    Proposal,
    Proposals,
    Result,
    SavedQuery,
    SearchResult,
    Selection,
    SweepRequest,
    SystemStatus,
    TrainRequest,
    WorkerStatus,
)
from workers.metrics import REGISTRY
from workers.saved_queries import SavedQueries
from workers.settings import Settings


def photo(
    colour: tuple[int, int, int] = (200, 30, 30), size: tuple[int, int] = (64, 48), format: str = "JPEG"
) -> bytes:
    """A small image of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, format)
    return buffer.getvalue()


_INTERVALS = {"intervals": {"held_out_map@r": [0.78, 0.83]}}


class StandInClient:
    """The methods of workers.client.Client that the portal calls. Its embedding of an image is its mean colour."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.gallery = Gallery.open(settings)
        self.is_down = False
        self.is_slow = False
        self.unindexable: dict[str, str] = {}  # path -> why its job leaves it out
        self.asked: list[dict] = []
        self.registry = SimpleNamespace(previous=lambda: self.earlier)
        self.trainings = SimpleNamespace(can_start=lambda: self.has_torch, start=self._train, report=lambda _: None)
        self.has_torch = True
        self.sessions = StandInSessions()
        self.failures = Throttle.on_redis("")
        self.is_worse = False
        self.earlier: Active | None = None
        self.known = [
            model_record("untrained", {}),
            model_record("better", {"held_out_map@r": 0.805, "held_out_recall@1": 0.988, "map@r": 0.1} | _INTERVALS),
        ]
        self.now = Active("untrained", "gallery-untrained", 1_795_500_000.0)
        self._jobs: dict[str, JobStatus] = {}
        connection: Any = SimpleNamespace(
            settings=settings,
            redis=StandInRedis(),
            errors_reported=contextlib.nullcontext,
            start_job=self._follow_gallery,
        )
        self.connection = connection
        self.jobs = SimpleNamespace(params=lambda job: {})
        self.coverage = Coverage(open_storage(settings.storage_url))
        self.queries = SavedQueries(open_storage(settings.storage_url))
        self.previews: list[PreviewedQuery] = []
        self.labelling = SimpleNamespace(proposals=self._proposals, outliers=self._outliers)
        self.answers = Answers(open_storage(settings.storage_url))
        self.answers_since_training = self.answers.count
        self._indexed: set[str] = set()
        self.duplicates = StandInDuplicates(self)
        self.changes = Changes(connection, self.gallery, self.duplicates, self.queries)  # type: ignore[arg-type]

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
        strategy: str = "average",
        timeout_s: float = 30.0,
    ) -> SearchResult:
        self._answering()
        asked = {"image": image, "id": id, "k": k, "label": label, "rerank": rerank, "box": box, "more": more}
        self.asked.append(asked | {"unlike": unlike, "strategy": strategy})
        skipped = tuple(
            self.gallery.skipped(each)
            for each in (id, *more, *unlike)
            if isinstance(each, str) and each not in self._indexed
        )
        if id is not None:
            left = [each for each in (id, *more) if not isinstance(each, str) or each in self._indexed]
            if not left:
                self.image(id)
            image = left[0] if isinstance(left[0], bytes) else self.gallery.original(left[0])
        query = colour_vector(image if image is not None else b"")
        shown = [each for each in map(self.image, self._indexed) if label in (None, each.label)]
        ranked = sorted(
            ((float(query @ colour_vector(self.gallery.original(each.id))), each) for each in shown), key=by_similarity
        )
        results = tuple(
            Result(n, each.id, each.path, each.label, round(s, 6), round(max(0.0, 2 - 2 * s) ** 0.5, 6), *judged(s))
            for n, (s, each) in enumerate(ranked[:k], 1)
        )
        matches = sum(result.verdict == "same" for result in results)
        timings = {"wait": 1.0, "embed": 2.5, "search": 0.5}
        return SearchResult("stand-in", "images-stand-in", results, timings, matches, "fitted on your labels", skipped)

    def _proposals(self, limit: int = 60, *, skip: int = 0) -> Proposals:
        """Every image without a label is a group, guessed to be lemons."""
        self._answering()
        images = [each for each in map(self.image, sorted(self._indexed)) if each.label is None]
        groups = tuple(Proposal("lemon", 0.75, (each,)) for each in images)
        return Proposals(groups[skip : skip + limit], len(images), len(groups))

    def _outliers(self, label: str, limit: int = 12) -> Outliers:
        """Every image of a label is one, more like a lime."""
        self._answering()
        images = [each for each in map(self.image, sorted(self._indexed)) if each.label == label]
        return Outliers(label, len(images), tuple(Outlier(each, 0.4, "lime") for each in images)[:limit])

    def labels(self) -> list[LabelCount]:
        self._answering()
        names = [each.label for each in map(self.image, self._indexed) if each.label]
        return [LabelCount(name, names.count(name)) for name in sorted(set(names))]

    def page(self, selection: Selection = EVERYTHING, after: str | None = None, limit: int = 60) -> Page:
        self._answering()
        images = sorted(map(self.image, self._indexed), key=lambda each: (-each.added_at, each.id))
        shown = [each for each in images if is_selected(each, selection)]
        start = next((n for n, each in enumerate(shown, 1) if page_start(each) == after), 0)
        page = shown[start : start + limit]
        return Page(tuple(page), page_start(page[-1]) if len(page) == limit else None, len(shown))

    def images(
        self, label: str | None = None, after: str | None = None, limit: int = 60
    ) -> tuple[list[GalleryImage], str | None]:
        page = self.page(Selection(label=label), after, limit)
        return list(page.images), page.next

    def folders(self) -> dict[str, int]:
        return dict(Counter(str(PurePath(each.path).parent) for each in map(self.image, self._indexed)))

    def view(self, id: str) -> bytes:
        self._answering()
        return thumbnail(decode(self.original(id)), 1600)

    def image(self, id: str) -> GalleryImage:
        return self.gallery.image(id)

    def thumbnail(self, id: str) -> bytes:
        return self.gallery.thumbnail(id)

    def original(self, id: str) -> bytes:
        return self.gallery.original(id)

    def add(
        self, data: bytes | Path, *, path: str, label: str | None, by_person: bool = False, in_place: bool = False
    ) -> Added:
        return self.gallery.add(data, path=path, label=label, by_person=by_person, in_place=in_place)

    def index(self, ids: Iterable[str], failures: Sequence[Failure] = ()) -> str:
        self._answering()
        images = [self.image(id) for id in ids]
        broken = [Failure(each.path, self.unindexable[each.path]) for each in images if each.path in self.unindexable]
        good = {each.id for each in images if each.path not in self.unindexable}
        for id in good:
            self.gallery.put_thumbnails({id: thumbnail(decode(self.original(id)))})
        self._indexed |= good
        return self._note("index", len(images), len(good), [*failures, *broken])

    def label(self, ids: Sequence[str], label: str | None) -> Changed:
        self._answering()
        return self._awaited(self.changes.relabel(dict.fromkeys(ids, label)))

    def replace_label(self, label: str, by: str | None) -> Changed:
        ids = [each.id for each in self.page(Selection(label=label), limit=10_000).images]
        if not ids:
            raise NotFound(f"no image has the label {label}")
        return self.label(ids, by)

    def delete(self, ids: Sequence[str]) -> Changed:
        self._answering()
        return self._awaited(self.changes.delete(ids))

    def undo(self, job: str) -> JobStatus:
        return self._jobs[self.changes.undo(job)]

    def restore(self, ids: Sequence[str]) -> Changed:
        return self._awaited(self.changes.restore(ids))

    def _awaited(self, changed: Changed) -> Changed:
        return changed if changed.job is None else dataclasses.replace(changed, status=self._jobs[changed.job])

    def _follow_gallery(self, kind: str, _params: object, ids: Sequence[str]) -> str:
        there = self.gallery.find_many(ids)
        self._indexed = (self._indexed - set(ids)) | set(there)
        return self._note(kind, len(ids), 0, [])

    def models(self) -> list[ModelRecord]:
        return self.known

    def active(self) -> Active:
        return self.now

    def save_query(self, image: bytes | None = None, *, id: str | None = None, name: str = "") -> SavedQuery:
        if image is None:
            return self.queries.keep_image(id or "", self.image(id or "").name)
        probe(image)
        return self.queries.keep_photo(image, name)

    def previewed(self, job: str) -> list[PreviewedQuery]:
        return self.previews

    def publish(self, model: str, *, force: bool = False, preview: bool = False) -> str:
        if model not in {record.name for record in self.known}:
            raise UnknownModel(f"there is no model {model}")
        if model == self.now.model:
            raise Refused(f"model {model} is active already")
        if preview:
            job = self._note("publish", 1, 0, [])
            detail = {"model": model, "phase": "preview", "previewed": 1}
            self._jobs[job] = dataclasses.replace(self._jobs[job], state="running", detail=detail)
            return job
        if self.is_worse and not force:
            job = self._note("publish", 1, 0, [])
            detail = {"model": model, "reason": "mAP@R is worse"}
            self._jobs[job] = dataclasses.replace(self._jobs[job], state="failed", detail=detail)
            return job
        self.earlier, self.now = self.now, Active(model, f"gallery-{model}", 1_795_500_001.0)
        return self._note("publish", 1, 0, [])

    def tune(self, *, force: bool = False) -> str:
        self.earlier, self.now = self.now, Active(f"{self.now.model}-tuned", "gallery-tuned", 1_795_500_002.0)
        return self._note("tune", 1, 0, [])

    def rollback(self) -> tuple[Active, str]:
        if self.earlier is None:
            raise Refused("there is nothing to roll back to")
        self.now, self.earlier = self.earlier, self.now
        return self.now, self.verify(repair=True, quick=True)

    def _train(self, request: TrainRequest | SweepRequest) -> str:
        self._answering()
        self.asked.append({"training": request})
        job = self._note(request.kind, 12, 0, [])
        self._jobs[job] = dataclasses.replace(self._jobs[job], detail={"model": "better", "held_out_map@r": 0.805})
        return job

    def ended(self, kinds: Sequence[str], limit: int = 5) -> list[JobStatus]:
        """Jobs of these kinds that have ended."""
        return [job for job in self._jobs.values() if job.kind in kinds and job.is_finished][:limit]

    def ended_lately(self) -> list[JobStatus]:
        return [job for job in self._jobs.values() if job.is_finished]

    def verify(self, repair: bool = False, *, quick: bool = False) -> str:
        return self._note("verify", len(self._indexed), 0, [])

    def running(self) -> list[JobStatus]:
        self._answering()
        return [job for job in self._jobs.values() if job.state == "running"]

    def stop(self, job: str) -> None:
        self._jobs[job] = dataclasses.replace(self.job(job), state="stopped")

    def job(self, job: str) -> JobStatus:
        self._answering()
        if job not in self._jobs:
            raise NotFound(f"there is no job {job}", hint="finished jobs are kept for a week")
        return self._jobs[job]

    def follow(self, job: str, timeout_s: float | None = None) -> Iterator[JobStatus]:
        yield self._jobs[job]
        if self.is_slow:
            raise Unavailable(f"job {job} is not finished after {timeout_s:.0f} s", hint="it goes on by itself")

    def status(self) -> SystemStatus:
        worker = WorkerStatus(
            id="w1",
            host="here",
            pid=1,
            queues=("search", "index"),
            device="cpu",
            precision="bf16",
            why="no GPU",
            model="stand-in",
            collection="images-stand-in",
            images=len(self._indexed),
            age_s=0.5,
            started_at=1_795_500_000.0,
            rss_mb=321.0,
        )
        return SystemStatus(
            healthy=not self.is_down,
            problems=("the queue does not answer: start it",) if self.is_down else (),
            model=None if self.is_down else "stand-in",
            collection=None if self.is_down else "images-stand-in",
            images=len(self._indexed),
            queues={} if self.is_down else {"search": 0, "index": 3},
            workers=() if self.is_down else (worker,),
            settings=self.settings.shown(),
        )

    def photos_known(self) -> int | None:
        return len(self._indexed)

    def metrics(self) -> bytes:
        return generate_latest(REGISTRY)

    def _answering(self) -> None:
        if self.is_down:
            raise Unavailable("the queue does not answer", hint="start the system with: lookalike up")

    def _note(self, kind: str, total: int, added: int, failures: Sequence[Failure]) -> str:
        job = f"{kind}-{len(self._jobs):012x}"
        self._jobs[job] = JobStatus(
            job=job,
            kind=kind,
            state="running" if self.is_slow else "done",
            total=total,
            done=0 if self.is_slow else total,
            added=added,
            unchanged=0,
            failed=len(failures),
            seconds=0.1,
            ended_at=None if self.is_slow else 1_795_500_000.0,
            failures=tuple(failures),
        )
        return job
