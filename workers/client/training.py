"""Trainings and sweeps that are started from outside a terminal: by the portal, or by any other client.

No task waits for them. The request stands in a job record, and a process of its own, `python -m workers.trainer JOB`,
performs it: a child process on one machine, a child of a training service where one runs (`lookalike trainer`, see
workers.trainer.service), a job of the cluster where RAY_ADDRESS names one. Either way that process
reports to the record, which the portal shows like every other job: how far it is, how it ended, and that it had no
heartbeat for too long. Ending the record stops the process, wherever it runs.
"""

import contextlib
import dataclasses
import importlib.util
import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import redis

from ml.errors import LookalikeError
from ml.names import BadName, JobName, RunName
from workers.errors import NotFound, Refused, Unavailable
from workers.messages import TRAINING_REQUESTS, JobStatus, SweepRequest, TrainRequest
from workers.messages.jobs import WAITING as WAITING
from workers.queue import training_queue
from workers.queue.jobs import Jobs
from workers.settings import Settings

_PACKAGES = ("torch", "timm", "ray", "pytorch_metric_learning")
SILENT_S = 60.0  # without a heartbeat, a run counts as dead; a start on a busy machine takes half of that


class Trainings:
    """Starts, follows and stops runs. Job records are in `jobs`, logs below <home>/runs/logs."""

    def __init__(self, settings: Settings, jobs: Jobs) -> None:
        self._settings = settings
        self._jobs = jobs

    def start(self, request: TrainRequest | SweepRequest) -> str:
        """Starts a run, or queues it behind the one that is under way: two would only slow each other down.

        Returns its job's id at once. What is wrong with the request, the job says.

        Raises:
            Refused: neither training's packages nor a training service nor a cluster is here.
            Unavailable: the cluster takes no job.
        """
        if not self.can_start():
            raise Refused(
                "training's packages are not installed here, and no training service runs",
                hint="make train, or pip install 'lookalike[train]'; or start a service elsewhere: lookalike trainer",
            )
        job = self._jobs.create(request.kind, request.to_json(), externally_driven=True)
        self._jobs.describe(job, {"phase": WAITING})
        training_queue.put(self._jobs.server, job)
        self.advance()
        return job

    def advance(self) -> None:
        """Begins the run whose turn it is, unless one is under way or a training service takes them.

        Called whenever a run ends, and whenever somebody looks at one that waits: no process has to live for it.

        Raises:
            Unavailable: the cluster takes no job; the run has failed.
        """
        if training_queue.lives(self._jobs.server):
            return
        with self._jobs.lock("starting-training"):
            if self.under_way():
                return
            while (job := training_queue.take_now(self._jobs.server)) is not None:
                if job in self._jobs.running():  # else somebody stopped it while it waited
                    self._jobs.touch(job)
                    self._jobs.describe(job, {"phase": "starting"})
                    break
        if job is None:
            return
        try:
            if self._settings.ray_address:
                self._submit(job)
            else:
                self._spawn(job)
        except (OSError, LookalikeError) as error:
            self._jobs.end(job, "failed", {"reason": str(error)})
            raise

    def under_way(self) -> str | None:
        """The run that has begun and not ended, if there is one: also one that a terminal started."""
        waiting = training_queue.waiting(self._jobs.server)
        for job in self._jobs.running():
            if job.split("-")[0] in TRAINING_REQUESTS and job not in waiting and not self._status(job).is_finished:
                return job
        return None

    def can_start(self) -> bool:
        """Whether a run can be started from here: by a service, on a cluster, or with training's packages."""
        if self._settings.ray_address or all(importlib.util.find_spec(package) for package in _PACKAGES):
            return True
        return training_queue.lives(self._jobs.server)

    def status(self, job: str) -> JobStatus:
        """How far a run is; one that has been silent too long has failed. Raises NotFound."""
        status = self._status(job)
        if status.is_finished or job not in training_queue.waiting(self._jobs.server):
            return status
        if self.under_way() is None:
            with contextlib.suppress(LookalikeError):  # the record says it
                self.advance()
            return self._status(job)
        return dataclasses.replace(
            status, detail=status.detail | {"phase": f"{WAITING}: another training is under way"}
        )

    def _status(self, job: str) -> JobStatus:
        status = self._jobs.status(job)
        if status.is_finished or self._jobs.silent_s(job) <= SILENT_S:
            return status
        if job in training_queue.waiting(self._jobs.server):  # nobody speaks for it before it begins
            return status
        reason = f"no heartbeat of its process for {SILENT_S:.0f} s"
        self._jobs.end(job, "failed", status.detail | {"reason": reason})
        return self._jobs.status(job)

    def follow(self, job: str, interval_s: float = 0.5) -> Iterator[JobStatus]:
        """The status again and again, the last one finished."""
        while not (status := self.status(job)).is_finished:
            yield status
            time.sleep(interval_s)
        yield status

    def stop(self, job: str) -> None:
        """Ends a run; what it has finished stays, and the same command with --resume goes on. Raises NotFound."""
        status = self._jobs.status(job)
        training_queue.withdraw(self._jobs.server, job)
        self._jobs.end(job, "stopped", status.detail)

    def log(self, job: str) -> Path:
        """Where a run on this machine logs."""
        return self._settings.home / "runs" / "logs" / f"{JobName(job)}.log"

    def report(self, status: JobStatus) -> bytes | None:
        """The page that a sweep wrote of itself, None where it is not on this machine or not written yet."""
        try:
            name = RunName(status.detail.get("sweep") or "")
            return (self._settings.home / "sweeps" / name / "report.html").read_bytes()
        except (OSError, BadName):
            return None

    def spawn(self, job: str) -> "subprocess.Popen[bytes]":
        """Starts the process of a run on this machine; `watch` it."""
        log = self.log(job)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, *_program(job)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=os.environ | self._settings.environment() | {"TERM": "dumb"},
                start_new_session=True,  # Ctrl-C in the terminal of the system is not meant for it
            )
        # Its threads come later and inherit this: searches go first.
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, process.pid, 10)
        return process

    def _spawn(self, job: str) -> None:
        process = self.spawn(job)
        threading.Thread(target=self.watch, args=(job, process), name=f"watch-{job}", daemon=True).start()

    def watch(self, job: str, process: "subprocess.Popen[bytes]") -> None:
        """Waits for a run's process, and says so when it ended without saying so itself, for example by kill -9."""
        ended = process.wait()
        with contextlib.suppress(NotFound):  # records are forgotten after a week
            self._end_silent(job, ended)
        with contextlib.suppress(LookalikeError, redis.RedisError):  # the record says it, or whoever looks at it
            self.advance()

    def _end_silent(self, job: str, ended: int) -> None:
        status = self._jobs.status(job)
        if not status.is_finished:
            lines = self.log(job).read_text("utf-8", "replace").strip().splitlines()
            reason = next((line for line in reversed(lines) if line.startswith("error: ")), f"it ended with {ended}")
            self._jobs.end(job, "failed", status.detail | {"reason": reason.removeprefix("error: ")})

    def _submit(self, job: str) -> None:
        """Over HTTP, as Ray's Jobs API describes it: the portal has no Ray."""
        import urllib.request

        environment = {name: value for name, value in self._settings.environment().items() if name != "RAY_ADDRESS"}
        submission = {
            "entrypoint": shlex.join(["python", *_program(job)]),
            "submission_id": job,
            "runtime_env": {"env_vars": environment},
        }
        request = urllib.request.Request(  # noqa: S310 - the operator's own address
            f"{_jobs_address(self._settings.ray_address)}/api/jobs/",
            json.dumps(submission).encode(),
            {"Content-Type": "application/json", **_authorization()},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                answer.read()
        except OSError as error:  # HTTPError and URLError are
            raise Unavailable(
                f"the Ray cluster at {urlsplit(request.full_url).netloc} takes no job: {error}",
                hint="its dashboard must run, be reachable and know the token",
            ) from error


def _program(job: str) -> list[str]:
    return ["-m", "workers.trainer", job]


def _authorization() -> dict[str, str]:
    """Ray's own token, where its cluster wants one."""
    token, file = os.environ.get("RAY_AUTH_TOKEN"), os.environ.get("RAY_AUTH_TOKEN_PATH")
    if not token and file:
        token = Path(file).read_text("utf-8").strip()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _jobs_address(address: str) -> str:
    """Where the Jobs API of a cluster listens: RAY_API_SERVER_ADDRESS, or port 8265 of its head."""
    if given := os.environ.get("RAY_API_SERVER_ADDRESS"):
        return given
    if address.startswith(("http://", "https://")):
        return address
    host = urlsplit(address if "://" in address else f"//{address}").hostname or "127.0.0.1"
    return f"http://{host}:8265"
