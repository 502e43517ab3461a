"""What the OpenAPI document says beyond what APIFlask finds out by itself: errors, tokens, the second way to search."""

from typing import Any

from apiflask import APIFlask
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin

from web.api.schemas import Problem, SearchById
from web.problems import MIMETYPE

DESCRIPTION = """Image search by example: send a photo, get the images of the gallery that look most like it.

Errors are `application/problem+json` with a `detail` that says what is the case and a `hint` that says what to do next.
When the answer is 503, wait for as many seconds as `Retry-After` says and ask again.
"""

OPENAPI_VERSION = "3.1.0"
_EVERY_ROUTE = {
    "401": "A token is needed, and none or a wrong one was sent",
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
        AUTO_OPERATION_ID=True,
        TAGS=["Search", "Gallery", "System"],
    )

    app.spec_processor(_complete)


def _complete(spec: Any) -> Any:
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
    body = spec["paths"]["/api/v1/search"]["post"]["requestBody"]
    body["required"] = True
    body["content"]["application/json"] = {"schema": {"$ref": "#/components/schemas/SearchById"}}
    return spec


def _json_schema(schema: type) -> dict[str, Any]:
    plugin = MarshmallowPlugin()
    APISpec("", "", OPENAPI_VERSION, plugins=[plugin])
    assert plugin.converter is not None
    return plugin.converter.schema2jsonschema(schema)
