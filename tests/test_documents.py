"""Documents and code say the same, both ways: commands, options, settings, errors, links; and the site builds."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click
import pytest

from deploy.cli.__main__ import COMMANDS, program
from docs import make_reference
from docs.make_reference import error_classes, openapi
from ml import errors
from tests.documents import ROOT, blocks, pages
from workers.settings import Settings

ENVIRONMENTS = {f.metadata["env"] for f in fields(Settings)}
FILES = {f.metadata["file"] for f in fields(Settings) if f.metadata["file"]}


def _texts() -> Iterator[tuple[str, str]]:
    for page in [*pages(), *sorted((ROOT / "docs" / "reference").glob("*.md"))]:
        yield str(page.relative_to(ROOT)), page.read_text("utf-8")


def _mentions() -> Iterator[tuple[str, str]]:
    """(page, command) for each `lookalike …` in code of the written pages, options included."""
    for page in pages():
        text = page.read_text("utf-8")
        for block in blocks(page):
            yield from ((page.name, line) for line in block.commands)
        yield from ((page.name, code) for code in re.findall(r"`([^`\n]+)`", text))


def test_the_reference_pages_are_what_the_code_says() -> None:
    assert make_reference.stale() == []


def test_every_setting_is_documented_and_no_other() -> None:
    text = (ROOT / "docs/reference/settings.md").read_text("utf-8")
    assert {name for name in ENVIRONMENTS if f"`{name}`" not in text} == set()
    named = {(page, name) for page, text in _texts() for name in re.findall(r"\bLOOKALIKE_[A-Z_]+[A-Z]\b", text)}
    known = ENVIRONMENTS | FILES | {"LOOKALIKE_CONFIG"}
    # Compose files and charts may have variables of their own, which stand in .env.example.
    example = ROOT / ".env.example"
    known |= set(re.findall(r"\bLOOKALIKE_[A-Z_]+", example.read_text("utf-8"))) if example.exists() else set()
    assert {(page, name) for page, name in named if name not in known} == set()


def test_every_command_is_documented_and_no_other() -> None:
    text = (ROOT / "docs/reference/commands.md").read_text("utf-8")
    assert re.findall(r"^## lookalike (\S+)$", text, re.M) == list(COMMANDS)
    context = click.Context(program)
    groups = {name: program.get_command(context, name) for name in COMMANDS}
    nested = {
        f"{name} {below}"
        for name, group in groups.items()
        if isinstance(group, click.Group)
        for below in group.list_commands(context)
    }
    assert set(re.findall(r"^## lookalike (\S+ \S+)$", text, re.M)) == nested
    unknown = set()
    for page, line in _mentions():
        for name in re.findall(r"(?:^|[\s;&|])lookalike ([a-z]+)", f" {line}"):
            if name not in COMMANDS:
                unknown.add((page, name))
    assert unknown == set()


def test_every_option_that_a_document_names_exists() -> None:
    context = click.Context(program)
    wrong = set()
    for page, line in _mentions():
        for name, arguments in re.findall(r"(?:^|\s)lookalike ([a-z]+)([^;&|#]*)", line):
            command = program.get_command(context, name)
            if command is None:
                continue
            known = {option for parameter in command.get_params(context) for option in parameter.opts}
            for option in re.findall(r"(?<=\s)--?[a-z][a-z-]*", arguments):
                if option not in known:
                    wrong.add((page, name, option))
    assert wrong == set()


def test_every_error_is_documented_and_no_other() -> None:
    text = (ROOT / "docs/reference/errors.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.M)) == set(error_classes())
    assert all(meaning for _, _, meaning in error_classes().values())
    tree = set(re.findall(r"[├└]── (\w+)", errors.__doc__ or ""))
    assert tree <= set(error_classes())


def test_every_route_is_documented_and_no_other() -> None:
    text = (ROOT / "docs/reference/http-api.md").read_text("utf-8")
    routes = {
        f"{method.upper()} {path}"
        for path, operations in openapi()["paths"].items()
        for method in operations
        if method != "parameters"
    }
    assert set(re.findall(r"^## ([A-Z]+ /\S+)$", text, re.M)) == routes


def test_a_block_that_is_not_run_says_what_it_needs() -> None:
    """What is not marked is run by tests/e2e/test_documents.py, which knows these programs."""
    strange = {
        (block.page.name, block.line, line.split()[0])
        for page in pages()
        for block in blocks(page)
        if not block.needs
        for line in block.commands
        if line.split()[0] not in ("lookalike", "curl", ".")
    }
    assert strange == set()


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_every_module_that_a_document_names_exists() -> None:
    """Up to the first part that is no module: what follows is a class or a function."""
    wrong = set()
    for page in pages():
        for name in re.findall(r"`((?:ml|workers|web|deploy)\.[a-z_0-9.]*[a-z0-9])", page.read_text("utf-8")):
            path = ROOT
            for part in name.split("."):
                if path.is_file():
                    break  # the rest is inside of the module
                if not (path / part).is_dir() and not (path / f"{part}.py").is_file():
                    init = path / "__init__.py"
                    if not init.exists() or not re.search(rf"\b{part}\b", init.read_text("utf-8")):
                        wrong.add((page.name, name))
                    break
                path = path / part if (path / part).is_dir() else path / f"{part}.py"
    assert wrong == set()


def test_every_file_that_a_document_names_exists() -> None:
    packages = "ml|workers|web|deploy|tests|benchmarks|docs|notebooks"
    named = {
        (page.name, path)
        for page in pages()
        for path in re.findall(rf"(?<![\w/.-])((?:{packages})/[\w./-]*\w)", page.read_text("utf-8"))
    }
    below = {ROOT, ROOT / "docs"}  # where a page's links begin
    assert {(page, path) for page, path in named if not any((folder / path).exists() for folder in below)} == set()


def test_the_architecture_page_lists_every_room() -> None:
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    for package in ("ml", "workers", "web", "deploy"):
        rooms = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
        listing = re.search(rf"^{package}/\n((?:  .*\n)+)", text, re.M)
        assert listing, package
        assert rooms - set(re.findall(r"([a-z0-9_]+)/", listing[1])) == set(), package


def test_every_public_module_of_ml_has_its_page() -> None:
    text = (ROOT / "docs/reference/python-api.md").read_text("utf-8")
    listed = re.findall(r"^::: (\S+)$", text, re.M)
    missing = [name for name in listed if not list(ROOT.glob(name.replace(".", "/") + "*"))]
    assert missing == []


def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings_handlers.python")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", ".mkdocs.yml"]
    built = subprocess.run(
        [*command, "--site-dir", str(tmp_path / "site")], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert built.returncode == 0, built.stderr
    assert "WARNING -" not in built.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        text = page.read_text("utf-8")
        foreign = re.findall(r'<(?:script|img|link rel="stylesheet")[^>]*(?:src|href)="(?:https?:)?//[^"]*"', text)
        assert foreign == [], page
