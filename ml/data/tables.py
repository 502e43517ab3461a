"""Tables of labelled images: CSV as people have it. Delimiter and columns are found, each row is accounted for.

A table needs a column of paths and one of labels, and may have one of splits, by any of their usual names. Values of
the split column are train, val or test, or one of their usual names. A row that cannot be used is kept, with the
reason.
"""

import csv
import io
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from ml import files
from ml.errors import BadDataset

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_COLUMNS = {
    "path": ("path", "file", "filename", "file_name", "filepath", "image", "image_path", "photo", "img"),
    "label": ("label", "class", "category", "class_name", "target"),
    "split": ("split", "set", "subset", "partition"),
}
_SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "query", "gallery"),
}
_HINT = "its first line names the columns, for example: path,label,split"


class BadTable(BadDataset):
    """A table without what a training needs: a column of paths and one of labels."""


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Args:
        line: of the file, 1 for the first.
        path: of the image; relative ones begin at the table's folder.
        label: as it is written; empty where the row has none.
        split: train, val or test; empty where the row has none.
        unusable: why it cannot be used; empty where it can.
    """

    line: int
    path: Path
    label: str
    split: str
    unusable: str = ""


@dataclass(frozen=True)
class Table:
    """All rows of a file. `has_split`: whether it has such a column."""

    file: Path
    rows: tuple[Row, ...]
    has_split: bool

    @property
    def splits(self) -> set[str]:
        """The splits that rows have."""
        return {row.split for row in self.rows if row.split}

    def rows_of(self, *splits: str) -> list[Row]:
        """The rows that can be used, of these splits."""
        return [row for row in self.rows if row.split in splits and not row.unusable]

    @property
    def unusable(self) -> list[Row]:
        """The rows that nothing can use."""
        return [row for row in self.rows if row.unusable]


def read(file: Path) -> Table:
    """Reads a table.

    Raises:
        BadTable: it cannot be read, or its columns are not found.
    """
    try:
        text = _decoded(files.read_regular(file))
        first = text.lstrip("\n\r").split("\n", 1)[0]
        delimiter, columns = _layout(file, first)
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        next((line for line in lines if line), None)
        rows = tuple(_row(file, lines.line_num, line, columns) for line in lines if any(cell.strip() for cell in line))
    except UnicodeDecodeError as error:
        raise BadTable(f"{file} is no text in UTF-8", hint="save it as CSV in UTF-8") from error
    except (OSError, csv.Error) as error:
        raise BadTable(f"{file} is no readable CSV: {error}", hint=_HINT) from error
    return Table(file, rows, "split" in columns)


def _decoded(content: bytes) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):  # "Unicode text" of Excel
        return content.decode("utf-16")
    return content.decode("utf-8-sig")


def _layout(file: Path, header: str) -> tuple[str, dict[str, int]]:
    """The delimiter, and the position of each column, from the first line."""
    layouts = [(delimiter, _found(_cells(header, delimiter))) for delimiter in DELIMITERS]
    delimiter, columns = max(layouts, key=lambda layout: len(layout[1]))
    if "path" in columns and "label" in columns:
        return delimiter, columns
    if not columns:
        delimiter = max(DELIMITERS, key=header.count)
    missing = "path" if "path" not in columns else "label"
    names = ", ".join(repr(cell) for cell in _cells(header, delimiter)[:6]) or "none"
    raise BadTable(
        f"{file} has no column {missing!r}; separated by {DELIMITERS[delimiter]} it has {names}",
        hint=f"name that column in the first line: {', '.join(_COLUMNS[missing][:6])}",
    )


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line.strip("\r\n")], delimiter=delimiter), [])]


def _found(cells: list[str]) -> dict[str, int]:
    lower = [cell.lower() for cell in cells]
    found = {}
    for column, names in _COLUMNS.items():
        position = next((lower.index(name) for name in names if name in lower), None)
        if position is not None:
            found[column] = position
    return found


def _row(file: Path, number: int, cells: list[str], columns: dict[str, int]) -> Row:
    def cell(column: str) -> str:
        position = columns.get(column, len(cells))
        return cells[position] if position < len(cells) else ""

    named = cell("split").strip()
    split = next((split for split, names in _SPLITS.items() if named.lower() in names), "")
    path, label = cell("path").strip(), cell("label")
    if not path or "\0" in path:
        unusable = "has no path" if not path else "has a path that no file can have"
    elif not label.strip():
        unusable = "has no label"
    elif named and not split:
        unusable = f"has the split {named!r}, which is none of train, val and test"
    elif any(unicodedata.category(each) == "Cc" for each in path + label):
        unusable = "has a control character in its path or label"
    elif (file.parent / path).exists() and not (file.parent / path).is_file():
        unusable = "is no regular file"
    else:
        unusable = ""
    place = file.parent / path if path and "\0" not in path else file
    return Row(number, place, label, split, unusable)
