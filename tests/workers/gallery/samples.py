"""A photo to add, where the gallery keeps what, and what it says of damage."""

import io
from pathlib import Path

from PIL import Image

from ml.records import Damaged


def photo(colour: str = "red", format: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(out, format)
    return out.getvalue()


def original_of(folder: Path, id: str) -> Path:
    return folder / "storage" / "originals" / id[:2] / id


def metadata_of(folder: Path, id: str) -> Path:
    return folder / "storage" / "metadata" / id[:2] / f"{id}.json"


class Log:
    """What was said to be damaged, and is not whole again."""

    def __init__(self) -> None:
        self.damaged: dict[str, str] = {}

    def found(self, damaged: Damaged) -> None:
        self.damaged[damaged.key] = damaged.message

    def mended(self, key: str) -> None:
        self.damaged.pop(key, None)

    def known(self) -> list[str]:
        return list(self.damaged)
