"""`lookalike jobs`: the long work that runs or has ended lately, and stopping it."""

from typing import TYPE_CHECKING

import click

from deploy.cli.console import Console, command, table

if TYPE_CHECKING:
    from workers.messages import JobStatus


@command("jobs", example="lookalike jobs stop index-3f1c9a0b7d42")
@click.argument("action", type=click.Choice(["list", "stop"]), default="list")
@click.argument("job", required=False, metavar="[ID]")
def jobs(console: Console, action: str, job: str | None) -> None:
    """List the jobs that run or have ended lately, or stop one.

    What a stopped job has done stays.
    A job is long work in short pieces: indexing, labelling, deleting, a check, a backup, a publish, a training.
    It waits for what passes, such as a server that restarts, and says so; what stays ends it, with the reason.
    """
    from deploy.local.connection import connect
    from workers import settings
    from workers.client import Client

    if (action == "stop") != (job is not None):
        raise click.UsageError("name the job to stop: lookalike jobs stop ID; lookalike jobs lists them")
    with connect(settings.load(), say=console.step) as connected:
        client = Client(connected)
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
    rows = [[one.job, one.doing, f"{one.done}/{one.total}", str(one.failed), f"{one.seconds:.0f} s"] for one in listed]
    console.show(table(rows, ["job", "state", "done", "failed", "took"]))
    for one in listed:
        if remark := _remark(one):
            console.say(f"{one.job}: {remark}")


def _remark(status: "JobStatus") -> str:
    if waits_for := status.detail.get("waits_for"):
        return f"waits: {waits_for}"
    return str(status.detail.get("reason", ""))
