"""What the portal does, API and command line do, too: the table in docs/how-to/use-the-api.md is whole and true."""

import re
from pathlib import Path

import click
import pytest
from apiflask import APIFlask

from deploy.cli.__main__ import COMMANDS, program
from tests.web.conftest import app, portal_settings, workers_side  # noqa: F401

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "use-the-api.md"
# Of the portal alone, or of machines: nobody asks for them by another way.
NO_PAGES = {"/sign-in", "/sign-out", "/metrics", "/health/live", "/health/ready", "/static/{digest}/{filename}"}


def rows() -> list[tuple[set[str], set[tuple[str, str]], list[str]]]:
    """Of each row the addresses of pages, the routes of the API, and the commands."""
    found = []
    for line in PAGE.read_text("utf-8").splitlines():
        if line.startswith("| ") and line.count("|") == 5 and "in the portal" not in line:
            _, pages, api, commands = (cell.strip() for cell in line.strip("|").split("|"))
            routes = {(method, path) for method, path in re.findall(r"`(GET|POST|PUT|PATCH|DELETE) ([^`]+)`", api)}
            names = [name for name in re.findall(r"`([^`]+)`", commands) if not name.startswith("-")]
            found.append((set(re.findall(r"`([^`]+)`", pages)), routes, names))
    assert len(found) > 20
    return found


def addresses(app: APIFlask, *, api: bool) -> set[str]:  # noqa: F811
    """As the table writes them."""
    rules = {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(rule)) for rule in app.url_map.iter_rules()}
    return {rule for rule in rules if rule.startswith("/api/") == api}


def test_every_page_is_in_the_table(app: APIFlask) -> None:  # noqa: F811
    told = set().union(*(pages for pages, _, _ in rows()))
    assert told == addresses(app, api=False) - NO_PAGES


def test_every_route_of_the_api_is_in_the_table(app: APIFlask) -> None:  # noqa: F811
    document = app.spec
    routes = {
        (method.upper(), path.removeprefix("/api/v1"))
        for path, operations in document["paths"].items()
        for method in operations
    }
    assert set().union(*(api for _, api, _ in rows())) == routes


@pytest.mark.parametrize("command", sorted({name for _, _, names in rows() for name in names}))
def test_every_command_of_the_table_is_there(command: str) -> None:
    name, *action = command.split()
    assert name in COMMANDS
    found = program.get_command(click.Context(program), name)
    for each in action:
        assert isinstance(found, click.Group)
        found = found.commands[each]
    assert found is not None and found.help


def test_everything_in_the_portal_has_a_route_and_a_command() -> None:
    assert all(pages and api and commands for pages, api, commands in rows())
