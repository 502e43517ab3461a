"""Every route, with everything that it reads made hostile: an answer that says what is wrong, never a 5xx.

Routes come from the URL map, and the fields that each reads from watching it read: a new route is in here by itself.
"""

import io
import json
import re
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple
from urllib.parse import quote

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from werkzeug.datastructures import ImmutableMultiDict
from werkzeug.test import TestResponse

from tests.security.test_bodies import HOSTILE_JSON, CountedBody
from tests.web.stand_in import photo
from web.bodies import limit_of

VALUES = {
    "letters": "zzz",
    "below zero": "-1",
    "hexadecimal": "0x10",
    "huge": "9e99",
    "5,000 digits": "9" * 5_000,
    "not a number": "nan",
    "NUL": "\0",
    "line ends": "a\r\nSet-Cookie: a=b",
    "right to left": "\u202egpj.exe",
    "a path": "../../etc/passwd",
    "a template": "{{ 7 * 7 }}",
    "nothing": "",
}
# As they stand in an address: no text could hold them.
RAW = {"half of a surrogate pair": "%ED%A0%80", "no UTF-8": "%FF%FE", "a lone percent sign": "%", "doubly": "%2500"}
KINDS = ("text/plain", "application/xml", "application/octet-stream", "not a type", 'a/b; c="', "")


class Route(NamedTuple):
    """One address and method. `variables` are the names in it, `key` is what the API's document calls it."""

    endpoint: str
    method: str
    template: str
    variables: tuple[str, ...]
    key: str

    def address(self, **values: str) -> str:
        """With its variables filled in, as they stand in an address; those that are not given by an id."""
        filled = self.template
        for name in self.variables:
            filled = re.sub(rf"<(?:[^:>]+:)?{name}>", values.get(name, "0" * 32).replace("\\", r"\\"), filled)
        return filled


def routes(app: APIFlask) -> list[Route]:
    return [
        Route(
            rule.endpoint,
            method,
            rule.rule,
            tuple(sorted(rule.arguments)),
            re.sub(r"<(?:[^:>]+:)?([^>]+)>", r"{\1}", rule.rule),
        )
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]


class Fields(ImmutableMultiDict[str, Any]):
    """A request's fields, which notes the names that are asked for."""

    asked_for: ClassVar[set[str]] = set()

    def get(self, key: Any, *arguments: Any, **options: Any) -> Any:
        self.asked_for.add(key)
        return super().get(key, *arguments, **options)

    def getlist(self, key: Any, *arguments: Any, **options: Any) -> Any:
        self.asked_for.add(key)
        return super().getlist(key, *arguments, **options)

    def __getitem__(self, key: Any) -> Any:
        self.asked_for.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.asked_for.add(str(key))
        return super().__contains__(key)


class Attacker:
    """Sends requests as a browser of this machine with a form token, and judges the answers."""

    def __init__(self, app: APIFlask) -> None:
        self.browser: FlaskClient = app.test_client()
        document = self.browser.get("/api/v1/openapi.json").json
        self.document, self.schemas = document["paths"], document["components"]["schemas"]

    def send(self, route: Route, address: str, **sent: Any) -> TestResponse:
        answer = self.browser.open(address, method=route.method, **sent)
        assert answer.status_code < 500, f"{route.method} {address[:200]}: {answer.text[:500]}"
        if route.endpoint.startswith("api.") and answer.status_code not in (404, 405):
            documented = self.document[route.key][route.method.lower()]["responses"]
            assert str(answer.status_code) in documented, f"{route.method} {address[:200]}: {answer.status_code}"
            if answer.status_code >= 400:
                assert answer.content_type == "application/problem+json"
        return answer

    def reads_a_body(self, route: Route) -> bool:
        """Every form of a page does, for its token; of the API, what says so."""
        if route.endpoint.startswith("api."):
            return "requestBody" in self.document[route.key][route.method.lower()]
        return route.method == "POST"

    def fields_of(self, route: Route) -> set[str]:
        """The names of query and form that a route reads."""
        if route.endpoint.startswith("api."):
            operation = self.document[route.key][route.method.lower()]
            content = operation.get("requestBody", {}).get("content", {})
            schemas = [self.schemas[kind["schema"]["$ref"].rpartition("/")[2]] for kind in content.values()]
            names = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}
            return names.union(*(schema["properties"] for schema in schemas))
        Fields.asked_for = set()
        self.send(route, route.address() + "?a=b", **self.form(route, {"a": "b"}))
        return Fields.asked_for - {"csrf_token"}

    def form(self, route: Route, fields: dict[str, Any]) -> dict[str, Any]:
        if route.method == "GET":
            return {}
        parts = {**fields, "images": (io.BytesIO(photo()), "a.jpg"), "image": (io.BytesIO(photo()), "a.jpg")}
        if not route.endpoint.startswith("api."):
            page = self.browser.get("/add").text  # anew: the route before may have ended the session
            found = re.search(r'name="csrf_token" value="([^"]+)"', page)
            assert found
            parts = {"csrf_token": found[1], **fields}
        return {"data": parts, "content_type": "multipart/form-data"}


@pytest.fixture
def attacker(app: APIFlask, red: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Attacker]:
    monkeypatch.setattr(app.request_class, "parameter_storage_class", Fields)
    monkeypatch.setattr(Fields, "asked_for", set())
    yield Attacker(app)


def test_the_fields_of_routes_are_found(app: APIFlask, attacker: Attacker) -> None:
    found = {route.endpoint: attacker.fields_of(route) for route in routes(app)}
    assert {"after", "limit", "label", "taken_from"} <= found["api.images.list_images"]
    assert {"after", "label", "added_to"} <= found["gallery.page"]
    assert {"how"} <= found["models.train"]
    assert {"ids", "action"} <= found["gallery.edit_trash"]
    assert {"wait_s", "label_from"} <= found["api.images.add_images"]


@pytest.mark.parametrize("name", VALUES)
def test_no_value_of_a_field_makes_a_route_fail(app: APIFlask, attacker: Attacker, name: str) -> None:
    value = VALUES[name]
    for route in routes(app):
        for field in attacker.fields_of(route):
            attacker.send(route, f"{route.address()}?{field}={quote(value)}", **attacker.form(route, {field: value}))


@pytest.mark.parametrize("name", RAW)
def test_no_bytes_of_an_address_make_a_route_fail(app: APIFlask, attacker: Attacker, name: str) -> None:
    for route in routes(app):
        for field in attacker.fields_of(route):
            attacker.send(route, f"{route.address()}?{field}={RAW[name]}&{RAW[name]}=1", **attacker.form(route, {}))


@pytest.mark.parametrize("name", [*VALUES, *RAW])
def test_no_value_in_an_address_makes_a_route_fail(app: APIFlask, attacker: Attacker, name: str) -> None:
    value = quote(VALUES[name], safe="") if name in VALUES else RAW[name]
    for route in routes(app):
        for variable in route.variables:
            answer = attacker.send(route, route.address(**{variable: value or "%20"}), **attacker.form(route, {}))
            assert answer.status_code in (302, 308, 400, 403, 404, 405, 415, 422), (
                f"{route.method} {answer.request.path!a}"
            )


@pytest.mark.parametrize("name", HOSTILE_JSON)
def test_no_json_makes_a_route_fail(app: APIFlask, attacker: Attacker, name: str) -> None:
    for route in routes(app):
        attacker.send(route, route.address(), data=HOSTILE_JSON[name], content_type="application/json")


@pytest.mark.parametrize("kind", KINDS)
def test_a_body_of_another_kind_is_refused(app: APIFlask, attacker: Attacker, red: str, kind: str) -> None:
    for route in routes(app):
        body = json.dumps({"ids": [red], "id": red, "label": "x", "action": "label", "by": "y"}).encode()
        answer = attacker.send(route, route.address(), data=body, content_type=kind)
        if route.endpoint.startswith("api.") and attacker.reads_a_body(route):
            assert answer.status_code == 415, f"{route.method} {route.template}"


def test_a_body_over_the_limit_is_refused_unread(app: APIFlask, attacker: Attacker) -> None:
    for route in routes(app):
        if route.method == "GET":
            continue
        for kind in ("application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            with app.app_context():
                limit = limit_of(app.view_functions[route.endpoint], kind.partition(";")[0])
            body = CountedBody(limit + 1)
            environ = {"wsgi.input": body, "CONTENT_LENGTH": str(limit + 1)}
            answer = attacker.send(route, route.address(), content_type=kind, environ_overrides=environ)
            assert body.taken == 0
            if attacker.reads_a_body(route):
                assert answer.status_code in (413, 415), f"{route.method} {route.template} {kind}"
