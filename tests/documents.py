"""What the documents tell people to type, and whether a test may type it.

Every line of a block marked `sh` is run by tests/e2e/test_documents.py, page by page, unless an HTML comment
on the line before the block says what it needs that a test lacks:

    <!-- needs: a Qdrant server -->
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
GENERATED = ROOT / "docs" / "reference"


@dataclass(frozen=True)
class Block:
    """A block of commands, and what a comment before it says it needs; empty where it can be run."""

    page: Path
    line: int
    commands: tuple[str, ...]
    needs: str


def pages() -> list[Path]:
    """Every document that people wrote."""
    written = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in written if page.parent != GENERATED]


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of commands of a page, in order."""
    lines = page.read_text("utf-8").splitlines()
    starts = [number for number, line in enumerate(lines) if line.strip() in ("```sh", "```bash", "```shell")]
    for start in starts:
        end = next(number for number in range(start + 1, len(lines)) if lines[number].strip() == "```")
        before = next((line for line in reversed(lines[:start]) if line.strip()), "")
        needs = re.fullmatch(r"\s*<!-- needs: (.+) -->", before)
        text = "\n".join(lines[start + 1 : end]).replace("\\\n", " ")
        commands = [command.strip() for command in text.splitlines() if command.strip(" #")]
        yield Block(page, start + 1, tuple(commands), needs[1] if needs else "")


def python_blocks(page: Path) -> list[str]:
    """The blocks of Python of a page, in order."""
    return re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)
