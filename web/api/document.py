"""What the OpenAPI document says beyond what APIFlask finds out by itself: errors, tokens, the second way to search."""

import re
from typing import Any

from apiflask import APIFlask
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from werkzeug.routing import Rule

from web.access import requires
from web.access.roles import role_of
from web.api.schemas.base import Problem
from web.api.schemas.search import SearchById
from web.problems import MIMETYPE
from workers.client import Role

DESCRIPTION = """Image search by example: send a photo, get the images of the gallery that look most like it.

Errors are `application/problem+json` with a `detail` that says what is the case and a `hint` that says what to do next.
When the answer is 503, wait for as many seconds as `Retry-After` says and ask again.
"""

OPENAPI_VERSION = "3.1.0"
_WITH_BODY = {
    "400": "The body is not what its Content-Type says",
    "413": "The body is larger than this route takes",
    "415": "The body is of a kind that this route does not read",
}
_CHANGES = {"409": "This is not possible now: the answer says why"}
_NAMES_THINGS = {"404": "What the request names is not there"}
_OF_AN_IMAGE = {"410": "What is kept of the image is damaged, see `lookalike verify`"}
# Only the action `label` needs one.
_LABEL_IF_ASKED_FOR = {
    "if": {"properties": {"action": {"const": "label"}}},
    "then": {"required": ["label"], "properties": {"label": {"type": "string", "pattern": r"\S"}}},
}
# apispec wants another name for what is nested as well as answered alone.
_LISTED = {
    "ListedImage": "Image",
    "ListedJob": "Job",
    "LeftOut": "Failure",
    "OldHit": "PreviewedHit",
    "ListedQuery": "SavedQuery",
}
_EVERY_ROUTE = {
    "401": "A token is needed, and none or a wrong one was sent",
    "431": "Address and headers are too long",
    "429": "Too many wrong tokens like this one came from this address: wait as Retry-After says",
    "503": "A part of the system does not answer, or the queue is too long: ask again after Retry-After seconds",
}


def init_app(app: APIFlask) -> None:
    """Sets the document's texts and hooks in `_complete`."""
    app.description = DESCRIPTION
    app.security_schemes = {"token": {"type": "http", "scheme": "bearer"}}
    app.config.update(
        VALIDATION_ERROR_SCHEMA=Problem,
        HTTP_ERROR_SCHEMA=Problem,
        VALIDATION_ERROR_DESCRIPTION="The request's fields or files are not acceptable",
        NOT_FOUND_DESCRIPTION="There is no such thing",
        OPENAPI_VERSION=OPENAPI_VERSION,
        AUTO_TAGS=False,
        TAGS=["Search", "Gallery", "Models", "System"],
    )

    requires(Role.VIEWER)(app.view_functions["openapi.spec"])
    app.spec_processor(lambda spec: _complete(app, spec))


def _complete(app: APIFlask, spec: Any) -> Any:
    for rule in app.url_map.iter_rules():
        # The view's name is the operation's: `search`, `list_images`, … A client is generated with functions so called.
        for method, operation in spec["paths"].get(_template(rule), {}).items():
            if method.upper() in (rule.methods or ()):
                operation["operationId"] = rule.endpoint.rpartition(".")[2]
                role = role_of(app.view_functions[rule.endpoint])
                operation["responses"]["403"] = {"description": f"The token's role may not do this: it needs {role}"}
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    is_closed = app.extensions["lookalike-authenticator"].is_closed
    spec["security"] = [{"token": []}] if is_closed else [{"token": []}, {}]
    schemas = spec.setdefault("components", {}).setdefault("schemas", {})
    for address, path in spec["paths"].items():
        for name, operation in path.items():
            if name == "parameters":
                continue
            texts = _EVERY_ROUTE | (_WITH_BODY if "requestBody" in operation else {})
            texts |= _CHANGES if name != "get" else {}
            if "requestBody" in operation or operation.get("parameters"):
                texts |= _NAMES_THINGS
            if "System" not in operation["tags"] and ("{" in address or "requestBody" in operation):
                texts |= _OF_AN_IMAGE
            for status, text in texts.items():
                operation["responses"].setdefault(status, {"description": text})
            for status, response in operation["responses"].items():
                stated = response.get("content", {}).get("application/json")
                if status >= "400" and stated in (None, problem):
                    response["content"] = {MIMETYPE: problem}
    schemas["SearchById"] = _json_schema(SearchById)
    schemas["ChangeForm"] |= _LABEL_IF_ASKED_FOR
    # One of them and not both, said without oneOf at the top, of which generators of clients make a union of anything.
    one_of_them = [{"required": ["image"]}, {"required": ["id"]}]
    schemas["SearchByImage"]["not"] = {"anyOf": [{"required": ["image", "id"]}, {"not": {"anyOf": one_of_them}}]}
    for listed, name in (
        ("ListedImage", "Image"),
        ("ListedJob", "Job"),
        ("LeftOut", "Failure"),
        ("OldHit", "PreviewedHit"),
        ("ListedQuery", "SavedQuery"),
    ):
        del schemas[listed]
        _rename(schemas, f"#/components/schemas/{listed}", f"#/components/schemas/{name}")
    for path in spec["paths"].values():
        for body in (operation["requestBody"] for operation in path.values() if "requestBody" in operation):
            stated = next(iter(body["content"].values()))["schema"]["$ref"].rpartition("/")[2]
            body["required"] = bool(schemas[stated].get("required"))
    body = spec["paths"]["/api/v1/search"]["post"]["requestBody"]
    # It is needed: 422 without. Saying `required` makes openapi-python-client 0.29 write a module that lacks an import
    # wherever a request may have two kinds of body.
    body["required"] = False
    body["content"]["application/json"] = {"schema": {"$ref": "#/components/schemas/SearchById"}}
    return spec


def _rename(part: Any, before: str, after: str) -> None:
    """Lets every reference in a part of the document lead elsewhere."""
    if isinstance(part, dict):
        if part.get("$ref") == before:
            part["$ref"] = after
        for value in part.values():
            _rename(value, before, after)
    elif isinstance(part, list):
        for value in part:
            _rename(value, before, after)


def _template(rule: Rule) -> str:
    return re.sub(r"<(?:[^:>]+:)?([^>]+)>", r"{\1}", rule.rule)


def _json_schema(schema: type) -> dict[str, Any]:
    plugin = MarshmallowPlugin()
    APISpec("", "", OPENAPI_VERSION, plugins=[plugin])
    converter: Any = plugin.converter  # it has no types
    json_schema: dict[str, Any] = converter.schema2jsonschema(schema)
    return json_schema
