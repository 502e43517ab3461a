"""`lookalike jobs`: the long work that runs or has ended lately, and stopping it."""

from typing import TYPE_CHECKING

import click

from deploy.cli.console import Console, command, table

if TYPE_CHECKING:
    from workers.messages import JobStatus


@command("jobs", example="lookalike jobs stop index-3f1c9a0b7d42")
@click.argument("action", type=click.Choice(["list", "stop", "retry"]), default="list")
@click.argument("job", required=False, metavar="[ID]")
def jobs(console: Console, action: str, job: str | None) -> None:
    """List the jobs that run or have ended lately, stop one, or try one again.

    What a stopped job has done stays. `retry` does what one that failed or was stopped has left undone; a training goes
    on after the epochs that it finished, unless another one is under way: then it waits for its turn.
    A job is long work in short pieces: indexing, labelling, deleting, a check, a backup, a publish, a training.
    It waits for what passes, such as a server that restarts, and says so; what stays ends it, with the reason.
    """
    from deploy.local.connection import connect
    from workers import settings
    from workers.client import Client, retry

    if (action == "list") != (job is None):
        verb = "stop" if action == "list" else action
        raise click.UsageError(f"name the job to {verb}: lookalike jobs {verb} ID; lookalike jobs lists them")
    with connect(settings.load(), say=console.step) as connected:
        client = Client(connected)
        if job is not None and action == "retry":
            again = retry(client, job)
            console.result({"job": again, "retried": job})
            console.show(f"{again} does what {job} has left undone")
            return
        if job is not None:
            before = client.job(job)
            client.stop(job)
            after = client.job(job)
            console.result({"job": job, "state": after.state, "was_running": not before.is_finished})
            console.show(f"{job} {'is stopped' if not before.is_finished else f'had ended: {after.state}'}")
            return
        listed = [*client.running(), *client.ended_lately()]
    console.result({"jobs": [status.to_json() for status in listed]})
    if not listed:
        console.show("no jobs: nothing runs, and nothing has ended within the last week")
        return
    rows = [
        [one.job, one.doing, f"{one.done}/{one.total}", str(one.failed), f"{one.seconds:.0f} s", _left(one)]
        for one in listed
    ]
    console.show(table(rows, ["job", "state", "done", "failed", "took", "left"]))
    for one in listed:
        if remark := _remark(one):
            console.say(f"{one.job}: {remark}")


def _left(status: "JobStatus") -> str:
    return "" if status.left_s is None else f"{status.left_s:.0f} s"


def _remark(status: "JobStatus") -> str:
    if waits_for := status.detail.get("waits_for"):
        return f"waits: {waits_for}"
    return str(status.detail.get("reason", ""))
