"""Numbers and times as people read them, for the templates."""

from datetime import UTC, datetime

from flask import Flask
from markupsafe import Markup

from workers.messages import JobStatus, PreviewedQuery


def size(count: int) -> str:
    """Bytes: 183204 -> 183 kB."""
    if count < 1000:
        return f"{count} bytes"
    value = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.5 or unit == "TB":
            return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"
    raise AssertionError


def number(count: int) -> str:
    """1234567 -> 1,234,567."""
    return f"{count:,}"


def moment(at_s: float) -> Markup:
    """Seconds since 1970 -> 2026-11-24 08:16 UTC; web/static/js/times.js shows it in the visitor's own time."""
    at = datetime.fromtimestamp(at_s, UTC)
    return Markup('<time datetime="{}">{}</time>').format(at.strftime("%Y-%m-%dT%H:%M:%SZ"), f"{at:%Y-%m-%d %H:%M} UTC")


def camera_moment(at_s: float) -> str:
    """What a camera's clock showed, which knows no zone -> 2026-11-24 08:16."""
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M}"


def duration(seconds: float) -> str:
    """95.2 -> 1 min 35 s."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def percent(share: float | None) -> str:
    """0.8053 -> 80.5 %."""
    return "–" if share is None else f"{100 * share:.1f} %"


def told(value: object) -> str:
    """What a job tells in its details, whatever it is."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {told(each)}" for name, each in value.items()) or "–"
    if isinstance(value, float):
        return f"{value:.3f}"
    return "–" if value in (None, "") else str(value)


_KINDS = {
    "index": "Indexing",
    "label": "Labelling",
    "delete": "Deleting",
    "undelete": "Restoring photos",
    "verify": "Check",
    "reconcile": "Check after a start",
    "duplicates": "Looking for duplicates",
    "train": "Training",
    "sweep": "Sweep",
    "publish": "Publishing",
    "tune": "Tuning",
    "backup": "Backup",
    "restore": "Restoring an archive",
    "migrate": "Moving to servers",
}


def job_state(job: JobStatus) -> str:
    """A job's state in a word: also one that runs waits where another has to end first, or somebody has to look."""
    return "waiting" if job.waits_for_its_turn or job.waits_for_a_look else job.state


_BEFORE_SWITCHING = ("prepare", "load", "build", "check", "preview")


def job_name(job: JobStatus) -> str:
    """What a job does, in words, and of which model."""
    name, model = _KINDS.get(job.kind, job.kind.capitalize()), job.detail.get("model")
    if job.detail.get("preview") and job.detail.get("phase") in _BEFORE_SWITCHING:
        name = "Preview of"
    return f"{name} {model}" if model else name


def pace(job: JobStatus, unit: str = "photos") -> str:
    """How fast a job is and how long it will take, empty where neither can be told."""
    parts = []
    if job.per_s and not job.detail.get("curve") and job.done > 1 and (job.done < job.total or not job.total):
        told = f"{job.per_s:.0f} {unit}/s" if job.per_s >= 2 else f"{60 * job.per_s:.1f} {unit}/min"
        parts.append(told)
    if job.left_s is not None:
        parts.append(f"about {duration(max(1, round(job.left_s)))} left")
    return ", ".join(parts)


_CURVES = (("loss", "Loss", "{:.3f}"), ("held_out_map@r", "mAP@R of what was held out", "{:.1%}"))
_WIDE, _HIGH, _EDGE = 300.0, 90.0, 4.0


def curves(job: JobStatus) -> list[dict[str, str]]:
    """The curves of a training as far as it is, each with the points of its line in a box of 300 by 90."""
    drawn = []
    for key, name, form in _CURVES:
        points = [(each["epoch"], each[key]) for each in job.detail.get("curve") or () if each.get(key) is not None]
        if len(points) < 2:
            continue
        low, high = min(y for _, y in points), max(y for _, y in points)
        first, last = points[0][0], points[-1][0]
        placed = [
            (
                _EDGE + (_WIDE - 2 * _EDGE) * (x - first) / (last - first),
                _HIGH - _EDGE - (_HIGH - 2 * _EDGE) * (y - low) / ((high - low) or 1),
            )
            for x, y in points
        ]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        drawn.append(
            {"name": name, "line": line, "first": form.format(points[0][1]), "last": form.format(points[-1][1])}
        )
    return drawn


# What of a job's details is for people, and what it is called.
_DETAILS = {
    "model": "Model",
    "map@r": "mAP@R on labelled photos",
    "held_out_map@r": "mAP@R of held-out classes",
    "held_out_map@r_before": "the same before training",
    "sweep": "Sweep",
    "best": "Best so far",
    "missing": "Missing",
    "extra": "Too many",
    "different": "Different",
    "damaged": "Damaged",
    "files": "Files",
    "points": "Vectors",
    "to": "To",
    "from": "From",
}
_SHARES = ("map@r", "held_out_map@r", "held_out_map@r_before")
_PASSES = ("missing", "extra", "different")
_INNER = {"publish": _PASSES, "tune": _PASSES}  # counts of each pass, of no use to a reader


def details(job: JobStatus) -> list[tuple[str, str]]:
    """What a job has to tell besides its counts, as rows of name and text."""
    hidden = _INNER.get(job.kind, ())
    shown = [key for key in _DETAILS if job.detail.get(key) not in (None, {}) and key not in hidden]
    return [(_DETAILS[key], _shares(job.detail[key]) if key in _SHARES else told(job.detail[key])) for key in shown]


def _shares(value: float | dict[str, float]) -> str:
    """One share in percent, or a publish's two: of the new collection, and of the one that was active."""
    if isinstance(value, dict):
        return f"{percent(value['new'])}, of the model before {percent(value['active'])}"
    return percent(value)


def bar(similarity: float) -> str:
    """A cosine as the filled share of a bar, in percent. Below 0 nothing is alike, so the bar starts there."""
    return f"{100 * min(1.0, max(0.0, similarity)):.1f}"


def attr_count(query: PreviewedQuery, change: str) -> int:
    """How many answers to a previewed query changed in a way."""
    return query.count(change)


def init_app(app: Flask) -> None:
    """Makes the functions filters of the same names."""
    for each in (
        size,
        number,
        moment,
        camera_moment,
        duration,
        percent,
        details,
        bar,
        job_name,
        job_state,
        pace,
        curves,
        attr_count,
    ):
        app.jinja_env.filters[each.__name__] = each
