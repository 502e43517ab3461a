"""What the OpenAPI document says beyond what APIFlask finds out by itself: errors, tokens, the second way to search."""

import re
from typing import Any

from apiflask import APIFlask
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from werkzeug.routing import Rule

from web.access import requires
from web.access.roles import role_of
from web.api.schemas import Problem, SearchById
from web.problems import MIMETYPE
from workers.client import Role

DESCRIPTION = """Image search by example: send a photo, get the images of the gallery that look most like it.

Errors are `application/problem+json` with a `detail` that says what is the case and a `hint` that says what to do next.
When the answer is 503, wait for as many seconds as `Retry-After` says and ask again.
"""

OPENAPI_VERSION = "3.1.0"
_EVERY_ROUTE = {
    "401": "A token is needed, and none or a wrong one was sent",
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
        TAGS=["Search", "Gallery", "System"],
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
    spec["security"] = [{"token": []}, {}]
    schemas = spec.setdefault("components", {}).setdefault("schemas", {})
    for path in spec["paths"].values():
        for name, operation in path.items():
            if name == "parameters":
                continue
            for status, text in _EVERY_ROUTE.items():
                operation["responses"].setdefault(status, {"description": text})
            for status, response in operation["responses"].items():
                stated = response.get("content", {}).get("application/json")
                if status >= "400" and stated in (None, problem):
                    response["content"] = {MIMETYPE: problem}
    schemas["SearchById"] = _json_schema(SearchById)
    schemas["ImagePage"]["properties"]["images"]["items"]["$ref"] = "#/components/schemas/Image"
    schemas["JobList"]["properties"]["jobs"]["items"]["$ref"] = "#/components/schemas/Job"
    for schema, part in (("CopyOfImage", "image"), ("CopyGroup", "best")):
        _link(schemas[schema]["properties"][part], "Image")
    for part in ("failures", "skips"):
        schemas["FolderCoverage"]["properties"][part]["items"]["$ref"] = "#/components/schemas/Failure"
    del schemas["ListedImage"], schemas["ListedJob"], schemas["LeftOut"]
    body = spec["paths"]["/api/v1/search"]["post"]["requestBody"]
    # It is needed: 422 without. Saying `required` makes openapi-python-client 0.29 write a module that lacks an import
    # wherever a request may have two kinds of body.
    body["required"] = False
    body["content"]["application/json"] = {"schema": {"$ref": "#/components/schemas/SearchById"}}
    return spec


def _link(field: dict[str, Any], name: str) -> None:
    """Leads a nested field to a schema by its own name, whatever stands around the reference."""
    for each in [field, *field.get("allOf", ())]:
        if "$ref" in each:
            each["$ref"] = f"#/components/schemas/{name}"


def _template(rule: Rule) -> str:
    return re.sub(r"<(?:[^:>]+:)?([^>]+)>", r"{\1}", rule.rule)


def _json_schema(schema: type) -> dict[str, Any]:
    plugin = MarshmallowPlugin()
    APISpec("", "", OPENAPI_VERSION, plugins=[plugin])
    converter: Any = plugin.converter  # it has no types
    json_schema: dict[str, Any] = converter.schema2jsonschema(schema)
    return json_schema
