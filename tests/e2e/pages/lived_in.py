"""A gallery in which something has happened, so that every page has something to show.

A folder is indexed that holds copies and broken files, photos lie in the trash and without a label, queries are saved,
questions are answered, a job has failed, and a preview of another model waits.
"""

import contextlib
import dataclasses
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from deploy import demo_photos
from deploy.cli.coverage_ledger import Ledger
from deploy.cli.find_files import Walk
from deploy.cli.upload_folder import index
from ml.model.network import pretrained
from ml.model.save import save_bundle
from workers.client import Client
from workers.messages import Failure, JobStatus

PREVIEWED = "lite0-at-160"


@dataclass(frozen=True)
class LivedIn:
    """What there is to look at."""

    folder: Path
    added: list[str]  # ids of the folder's photos, in the order of their names
    trashed: str
    failed_job: str
    preview_job: str
    model: str


def register_another(client: Client, folder: Path) -> str:
    """A model that answers a little differently: the default one, looking at fewer pixels."""
    _, preprocessing = pretrained()
    model, _ = pretrained(preprocessing=dataclasses.replace(preprocessing, size_px=160, resize_px=160))
    save_bundle(model, folder / PREVIEWED, name=PREVIEWED)
    return client.registry.register(folder / PREVIEWED, cache_dir=client.settings.home / "cache" / "compiled")


def fill(folder: Path) -> None:
    """Writes a folder as people have them: photos, copies of photos, a broken one, and what is no photo."""
    photos = demo_photos.make(folder / "drawn", products=8, views=2, seed=3)
    for number, photo in enumerate(photos):
        photo.rename(folder / f"IMG_{4102 + number}.jpg")
    for each in (folder / "drawn").iterdir():
        each.rmdir()
    (folder / "drawn").rmdir()
    with Image.open(folder / "IMG_4102.jpg") as image:
        image.save(folder / "IMG_4102 (sent).jpg", quality=60)
        image.crop((12, 12, 236, 240)).save(folder / "IMG_4102 (cropped).jpg", quality=88)
    with Image.open(folder / "IMG_4105.jpg") as image:
        image.resize((160, 160)).save(folder / "IMG_4105 (small).jpg", quality=85)
    (folder / "IMG_4130.jpg").write_bytes((folder / "IMG_4103.jpg").read_bytes()[:1500])
    (folder / "notes.txt").write_text("call Ada about the lamp")


def index_folder(client: Client, folder: Path) -> list[str]:
    """As `lookalike index --label-from none` does. Returns the photos' ids, in the order of their names."""
    skipped: list[tuple[str, str]] = []
    same: dict[str, str] = {}
    ids: dict[str, str] = {}
    ledger = Ledger(client, [folder])
    walk = Walk([folder], lambda path, reason: skipped.append((str(path), reason)))
    status = index(
        client,
        ledger.counted(walk),
        label_from_parent=False,
        on_same=same.__setitem__,
        on_added=lambda candidate, added: ids.__setitem__(candidate.path.name, added.id),
        on_begun=ledger.begin,
        progress=lambda _done, _total: None,
    )
    ledger.end(status, skipped, same)
    readable = set(client.gallery.ids())
    return [ids[name] for name in sorted(ids) if ids[name] in readable]


@contextlib.contextmanager
def lived_in(client: Client, folder: Path, model: str) -> Iterator[LivedIn]:
    """Lets it happen, and takes it back: what was there before is as it was.

    Args:
        client: leads to a system whose gallery has labelled photos.
        folder: an empty one. Its name is shown.
        model: a registered one that is not active, to look at before it is published.
    """
    fill(folder)
    labelled = [image for image in client.images(limit=60)[0] if image.label]
    query = labelled[0]
    others = [image for image in labelled if image.label != query.label]
    added = index_folder(client, folder)
    trashed = added.pop()
    client.delete([trashed])
    client.wait(client.duplicates.start(), 400)
    failed = client.index([], [Failure(f"{folder.name}/IMG_4130.jpg", "is damaged: its end is missing")])
    client.wait(failed, 60)
    saved = [client.save_query(id=each.id) for each in (query, others[0])]
    saved.append(client.save_query((folder / "IMG_4104.jpg").read_bytes(), name="what Ada is looking for"))
    client.answers.give(query.id, others[0].id, False)
    preview = client.publish(model, preview=True)
    until_previewed(client, preview)
    try:
        yield LivedIn(folder, added, trashed, failed, preview, model)
    finally:
        if not client.job(preview).is_finished:
            client.stop(preview)
            client.wait(preview, 60)
        until_nothing_is_built(client)
        client.answers.give(query.id, others[0].id, None)
        known = {each.id for each in client.queries.all()}
        for each in saved:
            if each.id in known:
                client.queries.forget(each.id)
        present = set(client.gallery.ids())
        client.delete([id for id in added if id in present])
        client.changes.empty_trash()
        client.coverage.forget(socket.gethostname(), str(folder))


def until_previewed(client: Client, job: str, timeout_s: float = 120) -> JobStatus:
    """Waits until a preview can be looked at."""
    deadline = time.monotonic() + timeout_s
    while not (status := client.job(job)).waits_for_a_look and not status.is_finished:
        assert time.monotonic() < deadline, status
        time.sleep(0.1)
    assert status.waits_for_a_look, status
    return status


def until_nothing_is_built(client: Client, timeout_s: float = 60) -> None:
    """Waits until the collection of a publish that was stopped is gone."""
    deadline = time.monotonic() + timeout_s
    while client.registry.building():
        assert time.monotonic() < deadline
        time.sleep(0.1)
