"""Runs a notebook from scratch in a kernel of its own, and looks at what it computed."""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

Execute = Callable[[str, dict[str, str]], dict[str, Any]]


@pytest.fixture
def execute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Execute]:
    """`execute(name, {"x": "an expression"})` gives what the expressions are at the end of the notebook, as JSON."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    for name in [name for name in os.environ if name.startswith("LOOKALIKE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # What a notebook makes is thrown away. Not in tmp_path: Ray's sockets need short paths.
    scratch = tempfile.TemporaryDirectory(prefix="nb-", ignore_cleanup_errors=True)
    monkeypatch.setenv("TMPDIR", scratch.name)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))

    def execute(name: str, wanted: dict[str, str]) -> dict[str, Any]:
        notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        asked = ", ".join(f"{key!r}: {expression}" for key, expression in wanted.items())
        notebook.cells.append(nbformat.v4.new_code_cell(f"import json as _json\nprint(_json.dumps({{{asked}}}))"))
        client = nbclient.NotebookClient(
            notebook, timeout=380, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
        )
        client.create_kernel_manager()
        # The kernel is this Python, whatever kernels the machine has installed under that name.
        client.km.kernel_spec.argv[0] = sys.executable
        client.execute()
        found: dict[str, Any] = json.loads(notebook.cells[-1].outputs[-1].text)
        return found

    with scratch:
        yield execute
