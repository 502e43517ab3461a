"""Trainings and sweeps that are started from outside a terminal: by the portal, or by any other client.

No task waits for them. On one machine each is a child process that runs the command line's `train` or `sweep`; where
RAY_ADDRESS names a cluster it is a job of that cluster. Either way the process itself reports to a job record, which
the portal shows like every other job: how far it is, how it ended, and that it was silent too long. Ending the record
stops the process, wherever it runs; so does a queue that stays away, because nobody could know of the run any more.
"""

import contextlib
import importlib.util
import json
import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis

from ml.errors import LookalikeError
from workers.errors import NotFound, Refused, Unavailable
from workers.messages import JobStatus
from workers.queue.jobs import Jobs
from workers.settings import Settings

logger = logging.getLogger(__name__)

KINDS = ("train", "sweep")
_BEAT_S = 2.0
SILENT_S = 60.0  # without a sign of life, a run counts as dead; a start on a busy machine takes half of that

Tell = Callable[[dict[str, Any]], None]


class Trainings:
    """Starts, follows and stops runs. Job records are in `jobs`, logs below <home>/runs/logs."""

    def __init__(self, settings: Settings, jobs: Jobs) -> None:
        self._settings = settings
        self._jobs = jobs

    def start(self, kind: str, arguments: Sequence[str]) -> str:
        """Starts a run and returns its job's id at once.

        Args:
            kind: train or sweep.
            arguments: of the command, as a person would type them: `["gallery", "--preset", "fast", "--publish"]`.

        Raises:
            Refused: neither PyTorch nor a cluster is here.
            Unavailable: the cluster takes no job.
            LookalikeError: there is no such kind, or an argument is ours to set.
        """
        if kind not in KINDS:
            raise LookalikeError(f"there is no {kind!r} to start", hint="use train or sweep")
        if any(argument.split("=")[0] in ("--job", "--json", "--debug") for argument in arguments):
            raise LookalikeError("--job, --json and --debug cannot be given", hint="leave them out")
        if not self.can_start():
            raise Refused(
                "this machine has no PyTorch to train with",
                hint="start trainings where workers run, or set RAY_ADDRESS to a cluster that trains",
            )
        job = self._jobs.create(kind, {"arguments": list(arguments)}, externally_driven=True)
        self._jobs.describe(job, {"phase": "starting"})
        command = ["-m", "deploy.cli", kind, *arguments, "--json", "--job", job]
        try:
            if self._settings.ray_address:
                self._submit(job, command)
            else:
                self._spawn(job, command)
        except (OSError, LookalikeError) as error:
            self._jobs.end(job, "failed", {"reason": str(error)})
            raise
        return job

    def can_start(self) -> bool:
        """Whether a run can be started from here: on a cluster, or because PyTorch is installed."""
        return bool(self._settings.ray_address) or importlib.util.find_spec("torch") is not None

    def status(self, job: str) -> JobStatus:
        """How far a run is; one that has been silent too long has failed. Raises NotFound."""
        status = self._jobs.status(job)
        if not status.is_finished and self._jobs.silent_s(job) > SILENT_S:
            reason = "its process gives no sign of life"
            self._jobs.end(job, "failed", status.detail | {"reason": reason})
            return self._jobs.status(job)
        return status

    def follow(self, job: str, interval_s: float = 0.5) -> Iterator[JobStatus]:
        """The status again and again, the last one finished."""
        while not (status := self.status(job)).is_finished:
            yield status
            time.sleep(interval_s)
        yield status

    def stop(self, job: str) -> None:
        """Ends a run; what it has finished stays, and the same command with --resume goes on. Raises NotFound."""
        status = self._jobs.status(job)
        if not status.is_finished:
            self._jobs.end(job, "stopped", status.detail)

    def log(self, job: str) -> Path:
        """Where a run on this machine logs."""
        return self._settings.home / "runs" / "logs" / f"{job}.log"

    def _spawn(self, job: str, command: Sequence[str]) -> None:
        log = self.log(job)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=os.environ | self._settings.environment() | {"TERM": "dumb"},
                start_new_session=True,  # Ctrl-C in the terminal of the system is not meant for it
            )
        # Its threads come later and inherit this: searches go first.
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, process.pid, 10)
        threading.Thread(target=self._watch, args=(job, process), name=f"watch-{job}", daemon=True).start()

    def _watch(self, job: str, process: subprocess.Popen[bytes]) -> None:
        """Says so when a run's process ended without saying so itself, for example by kill -9."""
        ended = process.wait()
        with contextlib.suppress(NotFound):  # records are forgotten after a week
            self._end_silent(job, ended)

    def _end_silent(self, job: str, ended: int) -> None:
        status = self._jobs.status(job)
        if not status.is_finished:
            lines = self.log(job).read_text("utf-8", "replace").strip().splitlines()
            reason = next((line for line in reversed(lines) if line.startswith("error: ")), f"it ended with {ended}")
            self._jobs.end(job, "failed", status.detail | {"reason": reason.removeprefix("error: ")})

    def _submit(self, job: str, command: Sequence[str]) -> None:
        """Over HTTP, as Ray's Jobs API describes it: the portal has no Ray."""
        environment = {name: value for name, value in self._settings.environment().items() if name != "RAY_ADDRESS"}
        wanted = {
            "entrypoint": shlex.join(["python", *command]),
            "submission_id": job,
            "runtime_env": {"env_vars": environment},
        }
        request = urllib.request.Request(  # noqa: S310 - the operator's own address
            f"{_jobs_address(self._settings.ray_address)}/api/jobs/",
            json.dumps(wanted).encode(),
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


@contextlib.contextmanager
def reporting_to(settings: Settings, job: str | None) -> Iterator[Tell]:
    """In the process that trains: yields a function that puts what it is given into the job record.

    The record ends with the block: done, failed with the reason, or stopped. When someone ends the record before, this
    process is interrupted as by Ctrl-C. Without a job nothing is reported.

    Args:
        settings: where the record is.
        job: id of the record.
    """
    if job is None:
        yield lambda detail: None
        return
    from workers.queue.app import connect_redis

    jobs = Jobs(connect_redis(settings))
    detail: dict[str, Any] = {"phase": "reading", "host": socket.gethostname(), "pid": os.getpid()}
    ended = threading.Event()

    def tell(news: dict[str, Any]) -> None:
        detail.update(news)
        counters = {name: int(news[name]) for name in ("done", "total") if name in news}
        try:
            if not jobs.status(job).is_finished:
                jobs.describe(job, {k: v for k, v in detail.items() if k not in counters}, **counters)
        except redis.RedisError as error:  # the queue may be restarting
            logger.warning("the job record cannot be written: %s", error)

    def beat() -> None:
        heard_at = time.monotonic()
        while not ended.wait(_BEAT_S):
            try:
                jobs.touch(job)
                is_wanted = not jobs.status(job).is_finished
                heard_at = time.monotonic()
            except redis.RedisError:
                is_wanted = time.monotonic() - heard_at < SILENT_S
            if not is_wanted:
                os.kill(os.getpid(), signal.SIGINT)
                return

    jobs.touch(job)
    tell({})
    threading.Thread(target=beat, name="job-record", daemon=True).start()
    try:
        yield tell
    except KeyboardInterrupt:
        _end(jobs, job, "stopped", detail)
        raise
    except BaseException as error:
        message = error.message if isinstance(error, LookalikeError) else f"{type(error).__name__}: {error}"
        _end(jobs, job, "failed", detail | {"reason": message})
        raise
    else:
        _end(jobs, job, "done", detail)
    finally:
        ended.set()


def _end(jobs: Jobs, job: str, state: str, detail: dict[str, Any]) -> None:
    """Ends a record that nobody has ended before."""
    try:
        if not jobs.status(job).is_finished:
            jobs.end(job, state, {k: v for k, v in detail.items() if k not in ("done", "total")})
    except redis.RedisError as error:
        logger.warning("the job record cannot be closed: %s", error)
