"""`python -m workers.trainer JOB`: performs the training or sweep that a job record holds. Settings: the environment.

Exit status 0 done, 1 failed with one line on stderr that begins with "error: ", 130 stopped.
"""

import contextlib
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import redis

from ml import files, import_path
from ml.errors import LookalikeError
from workers import logs
from workers import settings as settings_module
from workers.client import Client
from workers.client.training import Trainings
from workers.errors import Refused
from workers.messages import TRAINING_REQUESTS, SweepRequest, TrainRequest
from workers.queue.app import connect_redis
from workers.queue.jobs import Jobs
from workers.settings import Settings
from workers.trainer.job_report import JobReport, reporting_to


def main(arguments: Sequence[str]) -> int:
    """Performs the job that is the only argument. Returns the exit status."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits that it is ignored
    (job,) = arguments
    try:
        settings = settings_module.load()
        logs.configure(settings)
        with _next_one_begun(settings):
            perform(settings, job)
    except KeyboardInterrupt:
        return 130
    except LookalikeError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except Exception as error:  # noqa: BLE001 - the end of a process: the log gets everything
        traceback.print_exc()
        sys.stderr.write(f"error: unexpected {type(error).__name__}: {error}\n")
        return 1
    return 0


@contextlib.contextmanager
def _next_one_begun(settings: Settings) -> Iterator[None]:
    """At the end of the block the run begins that waits for this one. On a cluster the portal sees to it."""
    try:
        yield
    finally:
        if not settings.ray_address:
            with contextlib.suppress(LookalikeError, redis.RedisError):  # its record says it
                Trainings(settings, Jobs(connect_redis(settings))).advance()


def perform(settings: Settings, job: str) -> None:
    """Performs a job's request, and reports to its record, which ends with it.

    Raises:
        NotFound: there is no such record.
        LookalikeError: the run failed; the record says why.
        KeyboardInterrupt: the record was ended by somebody else.
    """
    jobs = Jobs(connect_redis(settings))
    request = TRAINING_REQUESTS[jobs.status(job).kind].from_json(jobs.params(job))
    with reporting_to(jobs, job) as report:
        check_no_code(request)
        facts = _perform(request, settings, report)
        if request.publish:
            Client(settings).publish_and_wait(facts["model"], on_progress=report.progress)
        report.update(phase="done", **facts)


def check_no_code(request: TrainRequest | SweepRequest) -> None:
    """Raises Refused where what came over the queue names code: only the command line of who trains may do that."""
    values: list[Any] = [request.config]
    if isinstance(request, SweepRequest):
        values.append(request.grid)
        if request.space is not None:
            values.append(files.read_regular(Path(request.space)).decode("utf-8", "replace"))
    path = import_path.found_in(values)
    if path is not None:
        raise Refused(
            f"{path} names code, which a request may not run", hint="name it on the command line of the trainer"
        )


def _perform(request: TrainRequest | SweepRequest, settings: Settings, report: JobReport) -> dict[str, Any]:
    if isinstance(request, TrainRequest):
        from workers.trainer.train import train

        trained = train(request, settings, report)
        held_out = {name: value for name, value in trained.metrics.items() if name.startswith("held_out_map@r")}
        return {"model": trained.model, **held_out}
    from workers.trainer.sweep import sweep

    result = sweep(request, settings, report)
    return {name: result[name] for name in ("best", "model", "report")}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
