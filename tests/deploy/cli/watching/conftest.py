"""A folder, and a gallery that follows it without a queue: what is kept counts as indexed."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deploy.cli.watching.folder import WatchedFolder, Writing
from deploy.cli.watching.follow import Followed, Following, follow
from deploy.cli.watching.seen import SeenFiles
from ml.storage import open_storage
from tests.deploy.cli.stand_in import DONE, StandInClient
from workers.client.changes import Changed
from workers.gallery import Added, Gallery
from workers.messages import GalleryImage, JobStatus


def photo(number: int) -> bytes:
    """A small photo, another one for each number."""
    pixels = np.random.default_rng(number).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


class Client(StandInClient):
    """A client whose gallery is real, and whose jobs are done when they are closed."""

    def __init__(self, gallery: Gallery) -> None:
        super().__init__()
        self.gallery = gallery
        self.is_away = False

    def add(self, source: Path, **how: Any) -> Added:
        return self.gallery.add(source, **how)

    def image(self, id: str) -> GalleryImage:
        return self.gallery.image(id)

    def delete(self, ids: Sequence[str]) -> Changed:
        for id in ids:
            self.gallery.discard(id)
        return Changed(None, ids, ())

    def follow(self, job: str) -> Iterator[JobStatus]:
        if self.is_away:
            yield replace(DONE, state="failed", detail={"reason": "no worker is running"})
            return
        failures = tuple(self.filled.failures)
        yield replace(DONE, failures=failures, failed=len(failures))


@dataclass
class Disk:
    """A watched folder whose time a test lets pass."""

    root: Path
    home: Path
    client: Client
    now: float = 1000.0
    how: Following = field(default_factory=lambda: Following(trash_removed=True))

    def __post_init__(self) -> None:
        self.writing = Writing()
        self.open()

    def open(self) -> None:
        """Begins to watch, or begins again after a restart."""
        self.seen = SeenFiles(self.home, self.root)
        self.folder = WatchedFolder(self.root, self.seen, self.writing, lambda: self.now)

    def write(self, name: str, data: bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.writing.whole(str(path))
        return path

    def look(self, after_s: float = 3.0) -> Followed:
        """Lets time pass, looking twice, and brings the gallery in line. Returns what was done the second time."""
        self.folder.compare()
        self.now += after_s
        return follow(self.client, self.seen, self.folder.compare(), self.how)  # type: ignore[arg-type]

    def images(self) -> dict[str, str | None]:
        """File name -> label, of what the gallery holds."""
        found = self.client.gallery.find_many(self.client.gallery.ids())
        return {str(Path(each.path).relative_to(self.root)): each.label for each in found.values()}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    (tmp_path / "photos").mkdir()
    disk = Disk(tmp_path / "photos", tmp_path / "home", Client(Gallery(open_storage(f"file://{tmp_path}/storage"))))
    yield disk
    disk.seen.close()
