"""Workers that die in tests, and are started again."""

from workers.queue.jobs import Jobs
from workers.queue.liveness import worker_key
from workers.tasks import chunks
from workers.tasks.context import Context


class Killed(BaseException):
    """What `kill -9` is to a task: nothing after it runs."""


def start(jobs: Jobs, ids: list[str]) -> str:
    job = jobs.create("index")
    jobs.append(job, ids)
    jobs.seal(job)
    return job


def run(context: Context, job: str) -> None:
    """Works as a worker would that is started again after each death."""
    for _ in range(200):
        if context.jobs.status(job).is_finished:
            return
        for number in context.jobs.due(job, width=2):
            chunk = context.jobs.claim(job, number, context.worker)
            assert chunk is not None
            try:
                chunks.work(context, chunk)
            except Killed:
                context.redis.delete(worker_key("w"))
                context.jobs.due(job, width=0)
                context.redis.set(worker_key("w"), "{}")
        leases = f"lookalike:job:{job}:leases"  # pauses pass
        for number in context.redis.zrange(leases, 0, -1):
            context.redis.zadd(leases, {number: 0})
    raise AssertionError("the job does not end")
