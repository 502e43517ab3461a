"""`lookalike status` and `verify`: how the system is, and whether storage and collection agree."""

import os
from typing import TYPE_CHECKING

import click

from deploy.cli.console import Console, command

if TYPE_CHECKING:
    from workers.messages import SystemStatus


@command("status", example="lookalike status --json")
def status(console: Console) -> None:
    """Say how the system is, in words.

    Which model answers, over how many photos, on which device and why, what waits in the queues, and what is wrong.
    Exit status 0 also when something is wrong: look at `healthy` and `problems` of --json.
    """
    from deploy.local.connection import connect, running
    from workers import settings
    from workers.client import Client

    own = settings.load()
    with connect(own, say=console.step) as connected:
        now = Client(connected).status()
        described = None if own.redis_url else running(own)
    is_running = bool(own.redis_url) or (described is not None and described.pid != os.getpid())
    portal = described.portal if described else None
    console.result(now.to_json() | {"running": is_running, "portal": portal})
    if not is_running:
        console.show("nothing was running here; embedded services were started for this command alone")
    for line in lines(now, portal):
        console.show(line)


def lines(now: "SystemStatus", portal: str | None) -> list[str]:
    """The status as sentences, what is wrong first; of the settings those that are not at their defaults."""
    from workers.settings import Settings

    said = [f"problem: {problem}" for problem in now.problems] or ["everything works"]
    if portal:
        said.append(f"portal: {portal}")
    if now.model:
        said.append(f"gallery: {now.images} photos in collection {now.collection}, searched with model {now.model}")
    for worker in now.workers:
        said.append(
            f"worker {worker.id}: {', '.join(worker.queues)}; {worker.why}; {worker.rss_mb:.0f} MB; "
            f"last heard of {worker.age_s:.0f} s ago"
        )
    said += [f"suggestion: {suggestion}" for suggestion in now.suggestions]
    waiting = ", ".join(f"{name} {count}" for name, count in now.queues.items() if count)
    said.append(f"waiting tasks: {(waiting or 'none') if now.queues else 'not known while the queue is away'}")
    defaults = Settings().shown()
    changed = {name: value for name, value in now.settings.items() if value != defaults.get(name)}
    said += [f"setting {name}: {_shown(value)}" for name, value in changed.items()]
    return said


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


FINDINGS_SHOWN = 20


@command("verify", example="lookalike verify --repair")
@click.option("--repair", is_flag=True, help="Bring the collection in line with storage, and mend what can be mended.")
@click.option("--quick", is_flag=True, help="Read no originals and compute no vectors: seconds instead of minutes.")
def verify(console: Console, repair: bool, quick: bool) -> None:
    """Compare what is kept with what was added, and repair it.

    The collection is compared with storage, every original with its id, a sample of the vectors with what the model
    gives now. What no longer fits is named. An original that is damaged comes back by indexing its file again. Exit
    status 1 when there is a difference and it was not repaired.
    """
    from deploy.local.connection import connect
    from ml.errors import LookalikeError
    from workers import settings
    from workers.client import Client

    with connect(settings.load(), say=console.step) as connected:
        client = Client(connected)
        console.step("comparing storage with the collection")
        with console.progress("comparing") as progress:
            for now in client.follow(client.verify(repair, quick=quick)):
                progress(now.done, now.total)
        findings = client.findings(now.job)
    counts = {name: int(now.detail.get(name, 0)) for name in _WORDS}
    mendable = sum(count for name, count in counts.items() if name not in ("lost", "linked"))
    is_repaired = repair and not now.failed
    console.result(
        {"job": now.job, "images": now.total, **counts, "repaired": is_repaired, "failed": now.failed}
        | {"failures": [failure.to_json() for failure in now.failures]}
        | {"findings": [finding.to_json() for finding in findings]}
    )
    for finding in findings[:FINDINGS_SHOWN]:
        console.show(f"{_WORDS[finding.kind]}: {finding.path}: {finding.reason}")
    if len(findings) > FINDINGS_SHOWN:
        console.show(f"and {len(findings) - FINDINGS_SHOWN} more; --json lists them")
    summary = ", ".join(f"{count} {_WORDS[name]}" for name, count in counts.items() if count) or "nothing to repair"
    console.show(f"{now.total} photos: {summary}" + ("; repaired" if is_repaired and mendable else ""))
    if counts["linked"] and not repair:
        console.show("editing a linked photo changes the gallery: lookalike verify --repair makes copies of them")
    if now.state != "done" or now.failed:
        reason = now.failures[0].reason if now.failures else f"the job was {now.state}"
        raise LookalikeError(f"verifying did not succeed: {reason}", hint="run it again")
    if mendable and not repair:
        raise LookalikeError(
            f"storage and collection differ in {mendable} places", hint="lookalike verify --repair brings them in line"
        )
    if counts["lost"]:
        raise LookalikeError(
            f"{counts['lost']} originals are not what they were", hint="index these files again, or delete the images"
        )


# What verify counts, in words: see workers.tasks.verify.
_WORDS = {
    "missing": "missing",
    "extra": "extra",
    "different": "different",
    "damaged": "damaged",
    "wrong": "wrong vectors",
    "lost": "lost originals",
    "linked": "linked to files of yours",
}
