"""Makes the reference pages from the code: `make docs`. `make lint` fails when they are stale.

docs/reference/commands.md   what `--help` of every command says
docs/reference/settings.md   the table of settings
docs/reference/errors.md     every error that people are meant to read
docs/reference/http-api.md   the routes of the portal's API
"""

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from deploy.cli.__main__ import COMMANDS, program
from docs.make_reference_api import errors_page, http_api_page
from workers.settings import Settings

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
_HOW: dict[str, Any] = {"terminal_width": 100, "max_content_width": 100, "help_option_names": ["-h", "--help"]}


def commands_page() -> str:
    """Every command with its help."""
    context = click.Context(program, info_name="lookalike", **_HOW)
    parts = ["# Commands\n", "Made by `make docs` from the program itself.\n", _block(program.get_help(context))]
    for name in COMMANDS:
        command = program.get_command(context, name)
        assert command
        inner = click.Context(command, parent=context, info_name=name, **_HOW)
        parts += [f"## lookalike {name}\n", _block(command.get_help(inner))]
    return "\n".join(parts)


def settings_page() -> str:
    """Every setting with its default."""
    lines = [
        "# Settings\n",
        "Made by `make docs` from `workers/settings.py`. A value comes from the environment, else from",
        "`lookalike.toml` in the current folder or the file that `LOOKALIKE_CONFIG` names, else it is the default.\n",
        "| environment | in lookalike.toml | default | what it is |",
        "|---|---|---|---|",
    ]
    for field in fields(Settings):
        default = ",".join(field.default) if isinstance(field.default, tuple) else str(field.default)
        shown = f"`{default}`" if default else "empty"
        help = field.metadata["help"].replace("|", "\\|")
        lines.append(f"| `{field.metadata['env']}` | `{field.name}` | {shown} | {help} |")
    in_files = [f"`{field.metadata['file']}`" for field in fields(Settings) if field.metadata["file"]]
    lines += [
        "",
        f"Secrets may stand in files, as containers hand them out: {', '.join(in_files)} name them. A variable that",
        "holds the secret itself goes before its file.",
    ]
    return "\n".join(lines) + "\n"


PAGES = {
    "commands.md": commands_page,
    "settings.md": settings_page,
    "errors.md": errors_page,
    "http-api.md": http_api_page,
}


def stale() -> list[Path]:
    """The pages that differ from what the code says now."""
    return [
        FOLDER / name
        for name, page in PAGES.items()
        if not (FOLDER / name).exists() or (FOLDER / name).read_text("utf-8") != page()
    ]


def main(arguments: list[str]) -> int:
    """Writes the pages; with --check only looks. Returns the exit status."""
    if "--check" in arguments:
        for path in stale():
            click.echo(f"{path.relative_to(FOLDER.parents[1])} is stale: run make docs", err=True)
        return 1 if stale() else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), "utf-8")
    return 0


def _block(text: str) -> str:
    return f"```\n{text}\n```\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
