"""Brings the gallery in line with what comparing a folder has found.

New and changed files go through the job of `lookalike index`. A file that holds what a missing one held was moved: it
keeps its label. A changed one takes over the label of what it held before. What no file holds any more goes into the
trash where that is asked for. What somebody deleted stays deleted, though its file moves or what was seen is lost: only
a file that comes anew brings it back. What was seen is noted last: cut short at any point, the next comparison does it
again.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.cli.find_files import Candidate
from deploy.cli.upload_folder import index
from deploy.cli.watching.folder import Difference, Found
from deploy.cli.watching.seen import Seen, SeenFiles
from ml import files
from ml.data.photo_files import shown
from workers.client import Client, NotFound
from workers.gallery import Added, image_id
from workers.messages import GalleryImage


@dataclass(frozen=True)
class Following:
    """How the gallery follows a folder.

    `in_place`: no copies are made. `label_from_parent`: a folder's name is the label of new photos.
    `trash_removed`: photos whose file is gone go into the trash; otherwise they stay.
    """

    in_place: bool = False
    label_from_parent: bool = True
    trash_removed: bool = False


@dataclass
class Followed:
    """What was done, to be told in a line; an empty one when there is nothing to tell.

    `removed` are photos that no file holds any more, `trashed` those of them that are in the trash now.
    """

    added: int = 0
    changed: int = 0
    moved: int = 0
    restored: int = 0
    known: int = 0
    deleted: int = 0
    failed: int = 0
    removed: int = 0
    trashed: int = 0

    def __str__(self) -> str:
        counts = {
            "added": self.added,
            "changed": self.changed,
            "moved": self.moved,
            "restored from the trash": self.restored,
            "known already": self.known,
            "deleted before, left in the trash": self.deleted,
            "left out": self.failed,
            "removed, in the trash now": self.trashed,
            "removed from the disk, kept in the gallery": self.removed - self.trashed,
        }
        return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def follow(client: Client, seen: SeenFiles, difference: Difference, how: Following) -> Followed:
    """Does what a difference asks for.

    Args:
        client: leads to the running system.
        seen: what was seen of the folder last; brought up to date.
        difference: what comparing it has found.
        how: see there.

    Raises:
        LookalikeError: storage, queue or workers fail. Nothing is noted then, and the next comparison finds it again.
    """
    done = Followed()
    missing = {path: known.id for path in difference.missing if (known := seen.get(path)) and known.id}
    now_seen = _index(client, seen, difference, missing, how, done) if difference.found else {}
    changed = {path: known.id for path in now_seen if (known := seen.get(path)) and known.id}
    here = {each.id for each in now_seen.values()}
    gone = dict.fromkeys([*difference.gone, *(path for path, id in missing.items() if id in here)])  # or moved
    lost = {path: id for path, id in missing.items() if path in gone}
    left = {path: known.id for path, known in seen.items() if path not in gone and path not in now_seen}
    orphans = {id: path for path, id in {**lost, **changed}.items() if id not in here | set(left.values())}
    _lead_to_other_files(client, left, lost, how)
    trashed = _trash(client, orphans) if how.trash_removed else set()
    removed = {id for id in lost.values() if id in orphans}
    done.removed, done.trashed = len(removed), len(removed & trashed)
    seen.change(now_seen, gone)
    return done


def _index(
    client: Client,
    seen: SeenFiles,
    difference: Difference,
    missing: Mapping[str, str],
    how: Following,
    done: Followed,
) -> dict[str, Seen]:
    """Indexes what was found. Returns what is to be noted of it, by path."""
    deleted = _deleted(client, seen, difference.found)
    done.deleted = len(deleted)
    left = [found for found in difference.found if found.path not in deleted]
    candidates = [_labelled(client, seen, found, set(missing.values()), how) for found in left]
    outcomes: dict[str, Added] = {}

    def note(candidate: Candidate, added: Added) -> None:
        outcomes[str(candidate.path)] = added

    status = index(
        client,
        candidates,
        in_place=how.in_place,
        on_added=note,
        progress=lambda _done, _total: None,
    )
    reasons = {failure.path: failure.reason for failure in status.failures}
    if status.failed > len(status.failures):  # the job names the first thousand
        there = client.gallery.find_many({added.id for added in outcomes.values()})
        reasons |= {shown(Path(path)): "it cannot be read" for path, added in outcomes.items() if added.id not in there}
    noted = {found.path: Seen(found.size, found.mtime_ns, deleted.get(found.path)) for found in difference.found}
    for found in left:
        added, reason = outcomes.get(found.path), reasons.get(found.candidate.display_path, "")
        before = seen.get(found.path)
        if added is None or reason:
            noted[found.path] = Seen(found.size, found.mtime_ns, None, reason or "it cannot be read")
            done.failed += 1
            continue
        noted[found.path] = Seen(found.size, found.mtime_ns, added.id)
        if added.id in missing.values():
            done.moved += 1
        elif before and before.id and before.id != added.id:
            done.changed += 1
        elif added.is_restored:
            done.restored += 1
        elif added.is_new:
            done.added += 1
        else:
            done.known += 1
    return noted


def _deleted(client: Client, seen: SeenFiles, found: Sequence[Found]) -> dict[str, str]:
    """Files whose photo somebody has deleted while they were here: their paths, each with the photo's id.

    Of files that were never seen before that is so for the first look at a folder: nothing tells since when they have
    been here, and what is in the trash by then was deleted with this file or a like one beside it.
    """
    known = set(client.gallery.trash.ids())
    if len(seen):
        known &= seen.ids()
    deleted = {}
    for each in found if known else ():
        if each.candidate.reason:
            continue
        with contextlib.suppress(OSError):
            id = image_id(files.read_regular(each.candidate.path))
            if id in known and _image(client, id) is None:
                deleted[each.path] = id
    return deleted


def _labelled(client: Client, seen: SeenFiles, found: Found, missing: set[str], how: Following) -> Candidate:
    """A file with the label that it is to have: its own, where it was moved or changed, else its folder's name."""
    candidate = found.candidate if how.label_from_parent else replace(found.candidate, label=None)
    if candidate.reason:
        return candidate
    before = seen.get(found.path)
    image = _image(client, before.id) if before and before.id else None
    if image is not None and image.label:  # of a label that is not the folder's name a person is the author
        return replace(candidate, label=image.label, by_person=image.label != found.candidate.label)
    if missing and before is None and (moved := _moved(client, candidate.path, missing)) and moved.label:
        return replace(candidate, label=None)  # what it has stays
    return candidate


def _moved(client: Client, path: Path, missing: set[str]) -> GalleryImage | None:
    """The image that a missing file held and this one holds now."""
    with contextlib.suppress(OSError):
        if (id := image_id(files.read_regular(path))) in missing:
            return _image(client, id)
    return None


def _lead_to_other_files(
    client: Client, left: Mapping[str, str | None], lost: Mapping[str, str], how: Following
) -> None:
    """Images that went by a file which is gone go by the other one that holds them."""
    names, ids = {shown(Path(path)) for path in lost}, set(lost.values())
    again = []
    for path, id in left.items():
        image = _image(client, id) if id in ids and id else None
        if image is not None and image.path in names:
            again.append(Candidate(Path(path), None))
    if again:
        index(client, again, in_place=how.in_place, progress=lambda _done, _total: None)


def _trash(client: Client, orphans: Mapping[str, str]) -> set[str]:
    """Moves images that no file holds any more to the trash, unless they go by another path. Returns which."""
    ids = []
    for id, path in orphans.items():
        image = _image(client, id)
        if image is not None and image.path == shown(Path(path)):
            ids.append(id)
    return set(client.delete(ids).ids) if ids else set()


def _image(client: Client, id: str) -> GalleryImage | None:
    try:
        return client.image(id)
    except NotFound:
        return None
