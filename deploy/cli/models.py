"""`lookalike models` with `remove` and `restore`, `publish`, `rollback`: which models there are, and which answers."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deploy.cli.console import Console, Phases, command, table
from ml.model.verdict import are_few, held_out_classes

if TYPE_CHECKING:
    from workers.client import Client
    from workers.messages import JobStatus
    from workers.settings import Settings


@command("remove", example="lookalike models remove grocery-20261124-v2")
@click.argument("model")
def remove(console: Console, model: str) -> None:
    """Remove a registered MODEL that is not in use.

    The model that answers and the one that `lookalike rollback` returns to are kept. For 30 days `lookalike models
    restore` brings a removed one back.
    """
    from ml.model.registry import Registry
    from workers import settings

    Registry(settings.load().models_url).remove(model)
    console.result({"removed": model})
    console.show(f"removed {model}")
    console.show(f"undo: lookalike models restore {model}")


@command("restore", example="lookalike models restore grocery-20261124-v2")
@click.argument("model")
def restore(console: Console, model: str) -> None:
    """Bring a MODEL back that was removed within the last 30 days."""
    from ml.model.registry import Registry
    from workers import settings

    Registry(settings.load().models_url).restore(model)
    console.result({"restored": model})
    console.show(f"{model} is registered again")


@command("models", example="lookalike models", actions=[remove, restore])
def models(console: Console) -> None:
    """List the registered models, oldest first: figures, data, and which one answers."""
    from ml.model.registry import Registry
    from workers import settings

    registry = Registry(settings.load().models_url)
    active = registry.active()
    records = registry.models()
    known = [
        {
            "name": record.name,
            "is_active": bool(active and active.model == record.name),
            "backbone": record.backbone,
            "dim": record.dim,
            "metrics": record.metrics,
            "threshold": record.threshold,
            "lineage": _without_photos(record.lineage),
            "sha256": record.sha256,
        }
        for record in records
    ]
    console.result({"models": known, "active": active.model if active else None})
    if not records:
        console.show("no models yet: lookalike train DATA makes one")
        return
    tests = _names_of_tests({record.name: record.lineage for record in records})
    rows = [
        [
            "*" if active and active.model == record.name else "",
            record.name,
            str(record.dim),
            _percent(record.metrics, "map@r"),
            _percent(record.metrics, "recall@1"),
            tests.get(record.name, "–"),
            _percent(record.metrics, "held_out_map@r"),
            _held_out(record.lineage),
            _trained_on(record.lineage.get("data")),
        ]
        for record in records
    ]
    console.show(
        table(
            rows,
            ["", "model", "dim", "test mAP@R", "test recall@1", "of", "held-out mAP@R", "of", "trained on"],
        )
    )


def _without_photos(lineage: dict[str, Any]) -> dict[str, Any]:
    """Without the hashes of photos, which are long and say nothing to a reader."""
    found = dict(lineage)
    for part, name in {"data": "photos", "tuning": "seen"}.items():
        if isinstance(found.get(part), dict):
            found[part] = {key: value for key, value in found[part].items() if key != name}
    return found


def _trained_on(data: Any) -> str:
    return str((data.get("name") if isinstance(data, dict) else data) or "–")


def _percent(metrics: dict[str, Any], name: str) -> str:
    """A figure with its interval: two models whose intervals overlap may differ by chance alone."""
    value, bounds = metrics.get(name), (metrics.get("intervals") or {}).get(name)
    if value is None:
        return "–"
    return f"{100 * value:.1f}" + (f" ({100 * bounds[0]:.1f} to {100 * bounds[1]:.1f})" if bounds else "")


def _names_of_tests(lineages: dict[str, dict[str, Any]]) -> dict[str, str]:
    """What each model was tested on: figures of different photos must not be read as if they were of the same. Two
    sets of one name are told apart by the beginning of their hashes."""
    tests = {model: lineage["test"] for model, lineage in lineages.items() if lineage.get("test")}
    contents: dict[str, set[str]] = {}
    for test in tests.values():
        contents.setdefault(test["name"], set()).add(test["fingerprint"])
    return {
        model: test["name"] if len(contents[test["name"]]) == 1 else f"{test['name']} {test['fingerprint'][:6]}"
        for model, test in tests.items()
    }


def _held_out(lineage: dict[str, Any]) -> str:
    """What the held-out figure is of: so many classes, or photos of the same classes."""
    holdout = lineage.get("holdout") or {}
    if holdout.get("split") in ("images", "val"):
        return f"{holdout['images']} photos"
    classes = held_out_classes(lineage)
    return f"{classes} classes" if classes else "–"


@command("publish", example="lookalike publish grocery-20261124-v2")
@click.argument("model")
@click.option("--force", is_flag=True, help="Also when neighbours get worse, or when the model is active already.")
@click.option("--preview", is_flag=True, help="Build it and say what would change; do not switch.")
def publish(console: Console, model: str, force: bool, preview: bool) -> None:
    """Make a trained MODEL the one that answers searches.

    MODEL is a name that `lookalike models` lists, or a folder that holds a model, which is then registered. Its
    collection is built beside the old one while searches go on, checked, and switched to in one step; the old one
    is kept for `lookalike rollback`. Interrupted, it goes on by itself while the system runs.

    With --preview it waits when the collection is ready, and what it would answer to saved queries stands beside what
    is answered now, here in figures and in the portal in photos. The same command without --preview then switches at
    once; stopping the job forgets it.
    """
    from deploy.local.connection import connect
    from workers import settings
    from workers.client import Client

    with connect(settings.load(), say=console.step) as connected:
        client = Client(connected)
        if Path(model).is_dir() and model not in {record.name for record in client.models()}:
            console.step("registering the model")
            model = client.registry.register(Path(model).resolve(), cache_dir=connected.compiled)
        if preview:
            _preview(console, client, model)
            return
        report = publish_and_follow(console, client, model, force=force)
    console.result(report)
    quality = ""
    if report["map@r"] is not None:
        quality = f"; mAP@R {100 * report['map@r']:.1f}, before {100 * report['map@r_before']:.1f}"
        quality += f", on {report['measured_on']}" if report["measured_on"] else ""
    console.show(f"{model} answers now, over {report['images']} photos{quality}")


def _preview(console: Console, client: "Client", model: str) -> None:
    """Says what would change, when that is known."""
    from ml.errors import LookalikeError

    job = client.publish(model, preview=True)
    with Phases(console) as phases:
        for status in client.follow(job):
            phases.show(f"{model}: {status.doing}", status.done, status.total)
            if status.waits_for_a_look:
                break
    if status.is_finished:
        reason = status.detail.get("reason", f"the job was {status.state}")
        raise LookalikeError(f"{model} has no preview: {reason}", hint="the model before it goes on answering")
    queries = client.previewed(job)
    console.result({"job": job, "model": model, "queries": [query.to_json() for query in queries]})
    rows = [
        [
            *(each.name, each.source),
            *(str(each.count(change)) for change in ("gained", "lost", "moved")),
            f"{each.right_before} to {each.right_after}",
        ]
        for each in queries
    ]
    console.show(table(rows, ["query", "why", "gained", "lost", "moved", "right"]))
    console.say(f"publish it: lookalike publish {model}; forget it: lookalike jobs stop {job}")


def publish_and_follow(console: Console, client: "Client", model: str, *, force: bool = False) -> dict[str, Any]:
    """Publishes a registered model and waits, with progress.

    Returns:
        What `lookalike publish --json` prints.

    Raises:
        LookalikeError: it was not switched to; the message says why.
    """
    with Phases(console) as phases:
        status = client.publish_and_wait(model, force=force, on_progress=phases.show)
    return _report(client, status)


def publish_and_show(
    console: Console,
    settings: "Settings",
    facts: dict[str, Any],
    show: Callable[[Console, dict[str, Any]], None],
    *,
    publish: bool,
) -> None:
    """Shows what made a model, published first where that was asked for. That it cannot be costs no result of hours.

    Args:
        console: for both.
        settings: of the system, which is started for that time where none runs.
        facts: what `--json` prints, with the name of the `model`, whether it `is_worse` than none and, where classes
            were held out, how many `held_out_classes`.
        show: prints the rest for people, between whether the model is worth it and how to make it answer.
        publish: whether to.
    """
    try:
        if publish:
            facts["published"] = _connect_and_publish(console, settings, facts["model"])
    finally:
        console.result(facts)
        if facts["is_worse"]:
            console.show(_verdict(facts.get("held_out_classes", 0)))
        show(console, facts)
        _show_whether_it_answers(console, facts)


def _verdict(classes: int) -> str:
    """That a model is not worth it, and in the same breath how sure that is.

    Args:
        classes: held-out ones that it was measured on; 0 where photos of every class were held out.
    """
    verdict, published = "THIS MODEL IS NO BETTER THAN AN UNTRAINED ONE", "published with --force alone"
    if not are_few(classes):
        return f"{verdict}, and is {published}"
    return (
        f"{verdict} on {classes} held-out classes, too few to be sure: it may be better on others, which"
        f" lookalike evaluate and a larger --holdout tell. It is {published}"
    )


def _connect_and_publish(console: Console, settings: "Settings", model: str) -> dict[str, Any]:
    from deploy.local.connection import connect
    from workers.client import Client

    with connect(settings, say=console.step) as connected:
        return publish_and_follow(console, Client(connected), model)


def _show_whether_it_answers(console: Console, facts: dict[str, Any]) -> None:
    model = facts["model"]
    if "published" in facts:
        console.show(f"{model} answers searches now; back to the one before: lookalike rollback")
    elif facts.get("is_active"):
        console.show(f"{model} answers searches already")
    else:
        all_the_same, force = (" all the same", " --force") if facts["is_worse"] else ("", "")
        console.show(f"make it answer{all_the_same}: lookalike publish {model}{force}")


def _report(client: "Client", status: "JobStatus") -> dict[str, Any]:
    quality = status.detail.get("map@r") or {}
    return {
        "job": status.job,
        "model": status.detail["model"],
        "collection": status.detail["collection"],
        "images": client.status().images,
        "failed": status.failed,
        "failures": [failure.to_json() for failure in status.failures],
        "map@r": quality.get("new"),
        "map@r_before": quality.get("active"),
        "measured_on": status.detail.get("measured_on"),
        "seconds": round(status.seconds, 1),
    }


@command("rollback", example="lookalike rollback")
def rollback(console: Console) -> None:
    """Switch back to the model that answered before.

    Its collection was kept, so that it answers at once; photos that were added since then follow within moments.
    A second rollback goes forward again.
    """
    from deploy.local.connection import connect
    from workers import settings
    from workers.client import Client

    with connect(settings.load(), say=console.step) as connected:
        client = Client(connected)
        active, job = client.rollback()
        with console.progress(f"{active.model} answers again; adding photos that are new since then") as progress:
            for status in client.follow(job):
                progress(status.done, status.total)
    console.result(
        {"model": active.model, "collection": active.collection, "added": status.added, "failed": status.failed}
    )
    since = f"; {status.added} photos that are new since then were added" if status.added else ""
    console.show(f"{active.model} answers again{since}")
