"""Reference pages of what programs meet: the HTTP API, from its OpenAPI document, and every error, from the code."""

import ast
import json
from pathlib import Path
from typing import Any

from workers.settings import Settings

ROOT = Path(__file__).parents[1]
PACKAGES = ("ml", "workers", "web", "deploy")
_BASE = "LookalikeError"


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
