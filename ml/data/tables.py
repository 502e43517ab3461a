"""Rows of a table of photos: CSV with the separator that the program which wrote it prefers.

Spreadsheets write semicolons where commas are for decimals, and tabs on request. The first line, which names the
columns, tells which: the separator is the one that makes the most columns of it.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}


class Table:
    """The rows of a file as dicts of text. `columns` are what its first line names; `separator` is what is between.

    Raises OSError, UnicodeDecodeError or csv.Error, as do its rows, when the file is none.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        with file.open(newline="", encoding="utf-8-sig") as stream:
            first = stream.readline()
        self.separator = max(SEPARATORS, key=lambda separator: len(_cells(first, separator)))
        self.columns = _cells(first, self.separator)

    def rows(self) -> Iterator[dict[str, str]]:
        """Each line after the first; a cell that is missing is empty, one too many is ignored."""
        with self._file.open(newline="", encoding="utf-8-sig") as stream:
            lines = csv.reader(stream, delimiter=self.separator)
            next(lines, None)
            for cells in lines:
                if cells:
                    cells += [""] * (len(self.columns) - len(cells))
                    yield dict(zip(self.columns, cells, strict=False))


def _cells(line: str, separator: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]
