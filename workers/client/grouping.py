"""Copies of photos as a person clears them up: groups around the one that is worth keeping.

A group is a star: each member is a copy of the one in its middle, never of another member alone. So whoever keeps that
one loses nothing, however long the chain of copies is that led from one to the other.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from workers.client.api import Client
from workers.errors import NotFound
from workers.messages import Copy, CopyGroup, GalleryImage, Pair

_SAME = "same-image"
_BLURRED = 0.8  # of the sharpest one's sharpness, from which an image counts as less sharp


def copy_groups(client: Client, job: str, limit: int = 50) -> tuple[list[CopyGroup], int]:
    """What a job has found so far, as groups, and how many there are in all.

    Args:
        client: leads to the running system.
        job: one of `duplicates`.
        limit: groups to return: those of the same image first, then the largest.
    """
    pairs = client.duplicates.pairs(job)
    images = client.gallery.find_many({id for pair in pairs for id in (pair.id, pair.other_id)})
    pairs = [pair for pair in pairs if pair.id in images and pair.other_id in images]
    connected = sorted(
        _connected(pairs), key=lambda part: (all(p.tier != _SAME for p in part), -len(part), part[0].path)
    )
    groups: list[CopyGroup] = []
    for part in connected[:limit]:  # judging an image means to read its thumbnail
        groups += _stars(part, _quality(client, part, images), images)
    groups.sort(key=lambda group: group.tier != _SAME)
    return groups[:limit], len(connected) if len(connected) > limit else len(groups)


def _order(pairs: list[Pair]) -> tuple[bool, int, str]:
    return all(pair.tier != _SAME for pair in pairs), -len(pairs), pairs[0].path


def _connected(pairs: Iterable[Pair]) -> list[list[Pair]]:
    """Pairs that lead to one another by any chain."""
    of: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        of[pair.id].append(pair)
        of[pair.other_id].append(pair)
    parts: list[list[Pair]] = []
    seen: set[str] = set()
    for start in of:
        if start in seen:
            continue
        part: dict[tuple[str, str], Pair] = {}
        waiting = [start]
        while waiting:
            id = waiting.pop()
            if id in seen:
                continue
            seen.add(id)
            for pair in of[id]:
                part[pair.id, pair.other_id] = pair
                waiting += [pair.id, pair.other_id]
        parts.append(list(part.values()))
    return parts


def _quality(client: Client, pairs: Iterable[Pair], images: Mapping[str, GalleryImage]) -> dict[str, tuple[float, ...]]:
    """id -> what is compared to find the best: pixels, fewer where it is less sharp than others; bytes; age."""
    from ml.images.sharpness import sharpness  # NumPy, which commands that only ask do without

    ids = {id for pair in pairs for id in (pair.id, pair.other_id)}
    sharp: dict[str, float] = {}
    for id in ids:
        try:
            sharp[id] = sharpness(client.thumbnail(id))
        except (NotFound, OSError):
            sharp[id] = 0.0
    enough = _BLURRED * max(sharp.values())
    quality: dict[str, tuple[float, ...]] = {}
    for id in ids:
        image = images[id]
        crisp = min(1.0, sharp[id] / enough) if enough else 1.0
        quality[id] = (image.width * image.height * crisp**2, float(image.bytes), -image.added_at)
    return quality


def _stars(
    pairs: Iterable[Pair], quality: Mapping[str, tuple[float, ...]], images: Mapping[str, GalleryImage]
) -> list[CopyGroup]:
    """Around the best image its copies; then around the best of those that are left."""
    of: dict[str, dict[str, Pair]] = defaultdict(dict)
    for pair in pairs:
        of[pair.id][pair.other_id] = pair
        of[pair.other_id][pair.id] = pair
    left = set(of)
    groups = []
    for middle in sorted(of, key=lambda id: (quality[id], id), reverse=True):
        members = [id for id in of[middle] if id in left and id != middle] if middle in left else []
        if not members:
            continue
        left -= {middle, *members}
        copies = [Copy(images[id], of[middle][id].tier, of[middle][id].score) for id in members]
        copies.sort(key=lambda copy: (copy.tier != _SAME, -copy.score))
        tier = _SAME if all(copy.tier == _SAME for copy in copies) else copies[-1].tier
        groups.append(CopyGroup(images[middle], tuple(copies), tier))
    return groups
