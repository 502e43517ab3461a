"""Making another model the one that answers searches: publishing, previewing, tuning, going back."""

import contextlib
import time
from collections.abc import Callable, Iterator

from ml.errors import LookalikeError
from ml.model.registry import Active, Registry
from ml.model.verdict import are_few, held_out_classes, is_no_better
from workers.client.following import Following
from workers.errors import Busy, Refused
from workers.messages import JobStatus, PreviewedQuery
from workers.queue.jobs import DRIVEN
from workers.queue.liveness import living_workers

_FOLLOWED_S = 5.0  # workers follow a switch in a quarter of a second; one that hangs is not waited for
PREVIEW = "preview"  # the phase in which a job waits for somebody to look


class Publishing(Following):
    """What a Client knows of switching models."""

    registry: Registry
    verify: Callable[..., str]

    def publish(self, model: str, *, force: bool = False, preview: bool = False) -> str:
        """Starts a job that builds a collection with a model, checks it, and switches searches over. Returns its id.

        A model whose preview waits is published from there: its collection is ready.

        Args:
            model: a registered one.
            force: switch even when mAP@R on the labelled gallery is worse, and rebuild the active model's collection.
            preview: do not switch: when the collection is ready, `previewed` tells what the model would answer, and
                the job waits for a second `publish`, or for being stopped.

        Raises:
            UnknownModel: it is not registered.
            Busy: another publish is running.
            Refused: it is active already, or does worse than before it was trained.
        """
        if not preview and (waiting := self._waiting_preview(model)):
            return self.confirm(waiting)
        record = self.registry.record(model)
        metrics, classes = record.metrics, held_out_classes(record.lineage)
        if is_no_better(metrics) and not force and not preview:
            after, before = 100 * metrics["held_out_map@r"], 100 * metrics["held_out_map@r_before"]
            few = f" on {classes} held-out classes, too few to be sure" if are_few(classes) else ""
            raise Refused(
                f"model {model} is no better than an untrained one{few}:"
                f" mAP@R {after:.1f}, before training {before:.1f}",
                hint=f"train with other settings, or: lookalike publish {model} --force",
            )
        active = self.registry.active()
        if active and active.model == model and not force:
            raise Refused(f"model {model} is active already", hint="add --force to build its collection anew")
        with self._publishing():
            job = self.jobs.create("publish", externally_driven=True)
            params = {"model": model, "collection": f"gallery-{model}-{job[-6:]}", "force": force, "preview": preview}
            self.jobs.set_params(job, params)
            self.jobs.describe(job, params | {"phase": "prepare"})
        return job

    def confirm(self, job: str) -> str:
        """Publishes what a preview was made of. Returns the job's id.

        Raises:
            Refused: it waits for nobody.
        """
        with self.connection.errors_reported():
            if self.jobs.status(job).detail.get("phase") != PREVIEW or job not in self.jobs.running():
                raise Refused(f"the job {job} has no preview to publish from", hint="publish the model itself")
            self.jobs.set_params(job, self.jobs.params(job) | {"is_confirmed": True})
        return job

    def previewed(self, job: str) -> list[PreviewedQuery]:
        """What both models answer, of a job with a preview: saved queries first, then those that change most."""
        with self.connection.errors_reported():
            found = [PreviewedQuery.from_json(query) for query in self.jobs.collected(job)]
        order = ("saved", "photo", "answered", "drawn")
        return sorted(found, key=lambda each: (order.index(each.source), -each.count("gained"), each.name, each.id))

    def _waiting_preview(self, model: str) -> str | None:
        with self.connection.errors_reported():
            for job in self.jobs.running():
                if job.startswith(DRIVEN) and (detail := self.jobs.status(job).detail).get("phase") == PREVIEW:
                    return job if detail.get("model") == model else None
        return None

    def tune(self, *, force: bool = False) -> str:
        """Starts a job that fits the active model's head to the gallery, without labels, and publishes it.

        Views of a sample of the photos are embedded; the new collection is the active one, projected. Returns the
        job's id.

        Args:
            force: also when the gallery taught the model, or mAP@R on the labelled gallery is worse.

        Raises:
            Busy: a model is being published.
            Unavailable: the queue does not answer.
        """
        with self._publishing():
            job = self.jobs.create("tune", {"force": force}, externally_driven=True)
            self.jobs.describe(job, {"phase": "vary"})
        return job

    @contextlib.contextmanager
    def _publishing(self) -> Iterator[None]:
        """One model at a time. Raises Busy."""
        with self.connection.errors_reported(), self.connection.redis.lock("lookalike:publishing", timeout=10):
            running = [job for job in self.jobs.running() if job.startswith(DRIVEN)]
            if running:
                raise Busy(
                    f"another model is being published (job {running[0]})", hint="wait for it, or stop it: see --help"
                )
            yield

    def publish_and_wait(
        self, model: str, *, force: bool = False, on_progress: Callable[[str, int, int], None] | None = None
    ) -> JobStatus:
        """Publishes a model, and returns the finished job once searches are switched over.

        Args:
            model: a registered one.
            force: as for `publish`.
            on_progress: called with a phase, and how much of how much of it is done.

        Raises:
            LookalikeError: it was not switched to; the message says why. Further errors are those of `publish`.
        """
        return self.wait_for_switch(self.publish(model, force=force), model, on_progress=on_progress)

    def wait_for_switch(
        self, job: str, what: str, *, on_progress: Callable[[str, int, int], None] | None = None
    ) -> JobStatus:
        """The finished job of `publish` or `tune`, once searches are switched over. Arguments as `publish_and_wait`.

        Args:
            job: its id.
            what: is published, in words.
            on_progress: called with a phase, and how much of how much of it is done.

        Raises:
            LookalikeError: it was not switched to; the message says why.
        """
        for status in self.follow(job):
            if on_progress:
                on_progress(f"{what}: {status.doing}", status.done, status.total)
        if status.state != "done":
            reason = status.detail.get("reason", f"the job was {status.state}")
            raise LookalikeError(f"{what} is not published: {reason}", hint="the model before it goes on answering")
        return status

    def rollback(self) -> tuple[Active, str]:
        """Switches back to what was active before and starts a job that adds what has been indexed since.

        Returns when the workers have followed, which takes less than a second.

        Returns:
            What is active now, and the job's id.

        Raises:
            Refused: nothing was active before.
        """
        previous = self.registry.previous()
        if previous is None:
            raise Refused("there is nothing to roll back to", hint="only one model has been active so far")
        active = self.registry.activate(previous.model, previous.collection)
        self._await_followers(active)
        return active, self.verify(repair=True, quick=True)

    def _await_followers(self, active: Active) -> None:
        """Returns when every living worker answers from what is active, or when one takes too long to."""
        with self.connection.errors_reported():
            deadline = time.monotonic() + _FOLLOWED_S
            while any(worker.collection != active.collection for worker in living_workers(self.connection.redis)):
                if time.monotonic() > deadline:
                    return
                time.sleep(0.02)
