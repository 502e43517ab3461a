"""Runs a step in a process of its own, so that this one never loads torch and searches go on meanwhile.

A worker on CPU needs torch for one thing: a model of an older Lookalike, which has to be converted.
"""

import importlib
import subprocess
import sys
from pathlib import Path

from ml.errors import LookalikeError


def run(function: str, *arguments: str) -> None:
    """Calls a function with strings and waits for it. In this process, if torch is loaded here already.

    Args:
        function: "module:name".
        arguments: what it gets.

    Raises:
        LookalikeError: it failed in the child; the last line that it wrote is the message.
    """
    module, name = function.split(":")
    if "torch" in sys.modules:
        getattr(importlib.import_module(module), name)(*arguments)
        return
    # At a low priority: in a worker, searches go on meanwhile.
    code = f"import os, sys; os.nice(10); from {module} import {name}; {name}(*sys.argv[1:])"
    # In the folder that holds this package, which need not be installed.
    child = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=Path(__file__).parent.parent
    )
    if child.returncode:
        lines = child.stderr.strip().splitlines() or [f"exit status {child.returncode}"]
        raise LookalikeError(f"{function} failed: {lines[-1]}", hint="run with --debug for the whole story")
