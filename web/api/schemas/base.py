"""What every schema of an answer shares, and the answer to what went wrong."""

from typing import Any

from apiflask import Schema
from apiflask.fields import Dict, Field, Integer, List, String

from web.api.fields import note


class Answer(Schema):
    """What goes out. Every field is always there, so the document marks each as required; a missing value is null."""

    def on_bind_field(self, field_name: str, field_obj: Field[Any]) -> None:
        field_obj.required = True


SAFE = "The search engine is restarting; your 1,830 photos are safe."


class Problem(Schema):
    """An error, as RFC 9457 has it."""

    type = String(required=True, metadata=note("always about:blank: the title says which problem it is", "about:blank"))
    title = String(required=True, metadata=note("what kind of problem", "Unreadable image"))
    status = Integer(required=True, metadata=note("the HTTP status again", 422))
    detail = String(required=True, metadata=note("what is the case", "notes.txt is no image that we read"))
    hint = String(required=True, metadata=note("what to do next", "choose another photo"))
    safe = String(metadata=note("while a part of the system is away: words for people who fear for their photos", SAFE))
    errors = List(Dict(keys=String(), values=String()), metadata=note("which fields or files, each with its reason"))
