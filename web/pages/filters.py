"""Which photos the gallery shows, as its address says it: `/gallery?text=img&label=mug&added_from=2026-11-01`."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta

from web.api.uploads import tidy_label
from workers.messages import Selection


@dataclass(frozen=True)
class Filters:
    """The fields of the form, as typed; what makes no sense is left out. Days are those of UTC, ends included."""

    text: str = ""
    label: str = ""
    folder: str = ""
    unlabelled: str = ""
    added_from: str = ""
    added_to: str = ""
    taken_from: str = ""
    taken_to: str = ""

    @classmethod
    def of(cls, arguments: Mapping[str, str]) -> "Filters":
        typed = {field.name: arguments.get(field.name, "").strip()[:4_000] for field in fields(cls)}
        days = {name: value if _day(value) else "" for name, value in typed.items() if name.endswith(("_from", "_to"))}
        return cls(**typed | days | {"text": typed["text"][:200], "label": (tidy_label(typed["label"]) or "")[:200]})

    def as_query(self) -> dict[str, str]:
        """Those that are set, as they stand in addresses."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name))}

    def without(self, *names: str) -> dict[str, str]:
        """The same, but for some."""
        return {name: value for name, value in self.as_query().items() if name not in names}

    def selection(self) -> Selection:
        """What workers select by."""
        return Selection(
            label=self.label or None,
            unlabelled=bool(self.unlabelled),
            folder=self.folder or None,
            text=self.text or None,
            added_from=_start(self.added_from),
            added_before=_start(self.added_to, days_later=1),
            taken_from=_start(self.taken_from),
            taken_before=_start(self.taken_to, days_later=1),
        )


def _day(text: str) -> date | None:
    with contextlib.suppress(ValueError):
        day = date.fromisoformat(text)
        return day if 1900 < day.year < 2200 else None
    return None


def _start(text: str, days_later: int = 0) -> float | None:
    day = _day(text)
    if day is None:
        return None
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() + timedelta(days_later).total_seconds()
