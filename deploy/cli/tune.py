"""`lookalike tune`: the model that answers, fitted to the gallery without a label."""

from typing import TYPE_CHECKING, Any

import click

from deploy.cli.console import Console, Phases, command

if TYPE_CHECKING:
    from workers.messages import JobStatus


@command("tune", example="lookalike index ~/Pictures && lookalike tune")
@click.option("--force", is_flag=True, help="Also when the gallery taught the model, or labelled neighbours get worse.")
def tune(console: Console, force: bool) -> None:
    """Fit the model that answers to your own photos, without labels.

    Parts of your photos, turned and tilted, tell what varies without meaning; so do photos that are each other's
    nearest. A linear map that looks past that makes a new model. At most 1,024 photos are read again for it, and the
    new collection is the present one, projected. It is checked and switched to like any model that is published;
    `lookalike rollback` goes back. It takes 30 photos at least. A gallery whose labels taught the model is left alone
    where such photos would be found less well.
    """
    from deploy.local.connection import connect
    from workers import settings
    from workers.client import Client

    with connect(settings.load(), say=console.step) as connected:
        client = Client(connected)
        with Phases(console) as phases:
            status = client.wait_for_switch(client.tune(force=force), "the tuned model", on_progress=phases.show)
    facts = report(status)
    console.result(facts)
    console.show(
        f"{facts['model']} answers now: fitted on {facts['views']} views and {facts['pairs']} pairs of"
        f" {facts['photos']} photos in {facts['seconds']:.0f} s"
    )
    if facts["map@r"] is not None:
        console.show(f"mAP@R on labelled photos: {100 * facts['map@r']:.1f}, before {100 * facts['map@r_before']:.1f}")


def report(status: "JobStatus") -> dict[str, Any]:
    """What `lookalike tune --json` prints. The mAP@R are None where too few photos have labels."""
    quality, tuning = status.detail.get("map@r") or {}, status.detail["tuning"]
    return {
        "job": status.job,
        "model": status.detail["model"],
        "collection": status.detail["collection"],
        "photos": tuning["photos"],
        "views": tuning["views"],
        "pairs": tuning["pairs"],
        "neighbours": tuning["neighbours"],
        "map@r": quality.get("new"),
        "map@r_before": quality.get("active"),
        "seconds": round(status.seconds, 1),
    }
