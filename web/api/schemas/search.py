"""Searching by example."""

import math
from typing import Any

from apiflask.fields import Dict, Float, Integer, List, Nested, String
from apiflask.validators import Length, OneOf, Range
from marshmallow import ValidationError, validates_schema

from web.api.fields import ID_EXAMPLE, LABEL_LENGTH, Asked, Files, Number, OneFile, TrueOrFalse, WholeNumber, note
from web.api.schemas.base import Answer
from web.api.schemas.changes import Skipped
from workers.client import MOST_EXAMPLES
from workers.messages import AVERAGE, STRATEGIES

MAX_K = 200


class SearchOptions(Asked):
    k = Integer(load_default=6, validate=Range(1, MAX_K), metadata=note("how many results", 6))
    label = String(load_default=None, allow_none=True, validate=LABEL_LENGTH, metadata=note("only this label", "mug"))
    rerank = TrueOrFalse(load_default=False, metadata=note("order by k-reciprocal neighbours: slower, often better"))
    strategy = String(
        load_default=AVERAGE,
        validate=OneOf(STRATEGIES),
        metadata=note("of several photos: average: what all have in common; best: what is like any of them", AVERAGE),
    )


_EXAMPLE_COUNT = Length(max=MOST_EXAMPLES - 1)
_BOX = (
    "search with a part of the photo alone: left, top, width and height, in shares of the upright photo when none is "
)
_BOX += "above 1, else in pixels"
_NOT_ITSELF = "; the photos of the query are left out of the answer then, and it claims no probabilities"


class BoxText(String):
    """Four numbers with commas between, as a form sends them."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        try:
            return numbers_of_box(super()._deserialize(value, attr, data, **kwargs))
        except ValueError as error:
            raise ValidationError("Must be four numbers: left, top, width, height.") from error


def numbers_of_box(text: str) -> list[float] | None:
    """Left, top, width and height with commas between; None of no text. Raises ValueError."""
    if not text:
        return None
    left, top, width, height = map(float, text.split(","))
    if not all(map(math.isfinite, (left, top, width, height))):
        raise ValueError(text)
    return [left, top, width, height]


class SearchByImage(SearchOptions):
    image = OneFile(load_default=None, metadata=note("the query photo; it is searched with and not kept"))
    id = String(
        load_default=None,
        metadata=note("id of an image of the gallery to search with, in place of a photo", ID_EXAMPLE),
    )
    box = BoxText(load_default=None, metadata=note(_BOX, "0.25,0.1,0.5,0.6"))
    more = Files(load_default=(), validate=_EXAMPLE_COUNT, metadata=note(f"further photos to look for{_NOT_ITSELF}"))
    more_id = List(
        String(), load_default=(), validate=_EXAMPLE_COUNT, metadata=note("further images to look for, by their ids")
    )
    unlike = Files(load_default=(), validate=_EXAMPLE_COUNT, metadata=note("photos that are not looked for"))
    unlike_id = List(
        String(), load_default=(), validate=_EXAMPLE_COUNT, metadata=note("images that are not looked for")
    )

    @validates_schema(skip_on_field_errors=True)
    def _is_about_one(self, data: dict[str, Any], **_: Any) -> None:
        if (data["image"] is None) == (data["id"] is None):
            raise ValidationError("Send one of image and id: what to search with.", "image")


class SearchById(SearchOptions):
    k = WholeNumber(load_default=6, validate=Range(1, MAX_K), metadata=note("how many results", 6))
    rerank = TrueOrFalse(in_json=True, load_default=False, metadata=note("k-reciprocal re-ranking"))
    id = String(required=True, metadata=note("id of an image of the gallery to search with", ID_EXAMPLE))
    box = List(
        Number(),
        load_default=None,
        allow_none=True,
        validate=Length(equal=4),
        metadata=note(_BOX, [0.25, 0.1, 0.5, 0.6]),
    )
    more = List(
        String(),
        load_default=(),
        validate=_EXAMPLE_COUNT,
        metadata=note(f"ids of further images to look for{_NOT_ITSELF}", []),
    )
    unlike = List(
        String(), load_default=(), validate=_EXAMPLE_COUNT, metadata=note("ids of images that are not looked for", [])
    )


class Result(Answer):
    rank = Integer(metadata=note("1 is the most similar", 1))
    id = String(metadata=note("the image's id", ID_EXAMPLE))
    path = String(metadata=note("where the image came from, as text to show", "mugs/sunrise-mug/03.jpg"))
    label = String(allow_none=True, metadata=note("its label", "sunrise-mug"))
    similarity = Float(metadata=note("cosine, in [-1, 1]", 0.93))
    distance = Float(metadata=note("L2 distance of unit vectors", 0.374))
    probability = Float(
        allow_none=True, metadata=note("that it shows the same thing; null: nothing is claimed, see told", 0.97)
    )
    verdict = String(
        allow_none=True,
        validate=OneOf(["same", "similar", "unlikely"]),
        metadata=note("same from 0.5 on, unlikely below 0.25; null: nothing is claimed", "same"),
    )


class SearchResult(Answer):
    model = String(metadata=note("the model that gave this answer", "efficientnet-lite0-imagenet"))
    collection = String(metadata=note("the collection that it compared with"))
    results = List(Nested(Result))
    timings_ms = Dict(keys=String(), values=Float(), metadata=note("where the time went: wait, decode, embed, search"))
    matches = Integer(
        allow_none=True,
        metadata=note("results whose verdict is same; 0: nothing in the gallery matches; null: not claimed", 3),
    )
    skipped = List(
        Nested(Skipped),
        metadata=note("images of the query that are gone; the others were searched with"),
    )
    told = String(metadata=note("what probabilities were fitted on, or why there are none", "fitted on your labels"))
