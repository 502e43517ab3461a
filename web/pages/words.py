"""What pages say of many photos at once: how many, and which were left out and why."""

from collections import defaultdict
from collections.abc import Sequence

from workers.client import Changed
from workers.messages import Skipped

FOLLOWS = "Searches follow when the search engine is back."
_NAMED = 3  # photos that a message names


def photos(count: int) -> str:
    """`1 photo`, `1,830 photos`."""
    return "1 photo" if count == 1 else f"{count:,} photos"


def told_of(done: Changed, told: str) -> str:
    """What a change did, in words, what it left out, and whether searches know of it."""
    later = "" if done.is_followed else FOLLOWS
    return " ".join(filter(None, (told if done.ids else "Nothing was changed.", left_out(done.skipped), later)))


def left_out(skipped: Sequence[Skipped]) -> str:
    """`Left out: mug.jpg, it is in the trash; 2 photos, not in the gallery any more.` Empty where nothing was."""
    by_reason: dict[str, list[Skipped]] = defaultdict(list)
    for each in skipped:
        by_reason[each.reason].append(each)
    parts = []
    for reason, some in by_reason.items():
        names = [each.name for each in some if each.name]
        is_named = len(names) == len(some) and len(some) <= _NAMED
        who = ", ".join(names) if is_named else photos(len(some))
        parts.append(f"{who} ({reason if len(some) == 1 else _plural(reason)})")
    return f"Left out: {'; '.join(parts)}." if parts else ""


def _plural(reason: str) -> str:
    return reason.replace("it is ", "they are ", 1).replace("it has ", "they have ", 1)
