"""Makes the reference pages from the code: `make docs`. `make lint` fails when they are stale.

docs/reference/commands.md   what `--help` of every command says
docs/reference/settings.md   the table of settings
docs/reference/errors.md     every error that people are meant to read
docs/reference/http-api.md   the routes of the portal's API
"""

import ast
import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from deploy.cli.__main__ import COMMANDS, program
from workers.settings import Settings

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "reference"
PACKAGES = ("ml", "workers", "web", "deploy")
_BASE = "LookalikeError"
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
        actions = command.commands if isinstance(command, click.Group) else {}
        for action in actions.values():
            innermost = click.Context(action, parent=inner, info_name=action.name, **_HOW)
            parts += [f"## lookalike {name} {action.name}\n", _block(action.get_help(innermost))]
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


def http_api_page() -> str:
    """Every route of /api/v1 with what goes in and comes out."""
    spec = openapi()
    lines = [
        "# HTTP API\n",
        "Made by `make docs` from the document that the portal serves at `/api/v1/openapi.json`.\n",
        spec["info"]["description"].strip() + "\n",
        "A token (`LOOKALIKE_API_TOKENS`) goes into the header `Authorization: Bearer …`; on loopback none is needed",
        "unless tokens are set.\n",
    ]
    for path, operations in spec["paths"].items():
        for method, operation in operations.items():
            if method == "parameters":
                continue
            lines.append(f"## {method.upper()} {path}\n")
            # A heading of its own in a description would become one of the page.
            lines.append(f"{operation.get('summary', '')}. {operation.get('description', '').strip()}\n")
            lines += _inputs(spec, operation, operations.get("parameters", []))
            lines += _outputs(operation)
    lines.append("## Schemas\n")
    for name, schema in sorted(spec["components"]["schemas"].items()):
        lines += [f"### {name}\n", *_properties(schema)]
    return "\n".join(lines).rstrip() + "\n"


def openapi() -> dict[str, Any]:
    """The document, with the default settings; no part of the system has to run."""
    from web import create_app

    app = create_app(Settings(redis_url="redis://127.0.0.1:1"))
    spec: dict[str, Any] = json.loads(json.dumps(app.spec))
    return spec


def errors_page() -> str:
    """Every error that people are meant to read."""
    lines = [
        "# Errors\n",
        "Made by `make docs` from the code. Each is one line that says what is the case, and a hint what to do next.",
        "The program prints both and exits with 1 (with 2 for wrong usage); the HTTP API answers",
        "`application/problem+json`. With `--debug` the program shows the traceback too.\n",
        "| error | is a | raised in | when |",
        "|---|---|---|---|",
    ]
    for name, (parent, module, meaning) in sorted(error_classes().items()):
        lines.append(f"| `{name}` | `{parent}` | `{module}` | {meaning} |")
    return "\n".join(lines) + "\n"


def error_classes() -> dict[str, tuple[str, str, str]]:
    """name -> (parent, module, first line of its docstring), of every LookalikeError in our packages.

    Read from the source: importing all of it would load torch and Ray.
    """
    classes: dict[str, tuple[str, str, str]] = {}
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.ClassDef) and node.bases:
                    parent = ast.unparse(node.bases[0]).rpartition(".")[2]
                    said = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
                    classes[node.name] = (parent, module, said)
    found = {_BASE}
    while grown := {name for name, (parent, *_) in classes.items() if parent in found} - found:
        found |= grown
    return {name: classes[name] for name in found}


def _inputs(spec: dict[str, Any], operation: dict[str, Any], shared: list[dict[str, Any]]) -> list[str]:
    lines = []
    for parameter in [*shared, *operation.get("parameters", [])]:
        parameter = _resolved(spec, parameter)
        needed = ", required" if parameter.get("required") else ""
        told = parameter.get("description") or parameter.get("schema", {}).get("description", "")
        lines.append(f"- `{parameter['name']}` (in the {parameter['in']}{needed}) {told}".rstrip())
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        lines.append(f"- body `{kind}`: {_name(content['schema'])}")
    return [*lines, ""] if lines else []


def _outputs(operation: dict[str, Any]) -> list[str]:
    lines = ["| status | answer | what it means |", "|---|---|---|"]
    for status, response in sorted(operation["responses"].items()):
        kinds = [
            f"`{kind}` {_name(content.get('schema', {}))}".strip()
            for kind, content in response.get("content", {}).items()
        ]
        lines.append(f"| {status} | {', '.join(kinds) or '–'} | {response.get('description', '')} |")
    return [*lines, ""]


def _properties(schema: dict[str, Any]) -> list[str]:
    if not schema.get("properties"):
        return [schema.get("description", "").strip(), ""]
    required = set(schema.get("required", ()))
    lines = ["| field | type | what it is |", "|---|---|---|"]
    for name, field in schema["properties"].items():
        told = str(field.get("description", "")).replace("|", "\\|").replace("\n", " ")
        mark = " (required)" if name in required else ""
        lines.append(f"| `{name}` | {_name(field)}{mark} | {told} |")
    return [*lines, ""]


def _name(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if schema.get("type") == "array":
        return f"list of {_name(schema.get('items', {}))}"
    kind = schema.get("type", "")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _resolved(spec: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in value:
        return value
    found: Any = spec
    for part in value["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    resolved: dict[str, Any] = found
    return resolved


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
