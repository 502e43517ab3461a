"""Kinds of values that the API takes, each checked just as the document describes it: no more, no less.

marshmallow takes `on`, `Y` and 0 for a boolean and "6" for a number; whoever reads the document would not expect it.
"""

from typing import Any

from apiflask import Schema
from apiflask.fields import Boolean, File, Float, Integer, List, String
from apiflask.validators import Length, Range, Regexp
from marshmallow import ValidationError, missing, validates_schema

from web.api.uploads import LONGEST_LABEL

MOST_IDS = 10_000  # in one request
LONGEST_ID = 64
ID_EXAMPLE = "9f86d081884c7d659a2feaa0c55ad015"


def note(description: str, example: object = None) -> dict[str, object]:
    """What the document says of a field."""
    said: dict[str, object] = {"description": description}
    if example is not None:
        said["example"] = example
    return said


class Asked(Schema):
    """What comes in by form or address, where options may be misspelt or repeated: either is told, not passed over."""

    @validates_schema(pass_original=True)
    def _each_once(self, _data: Any, original: Any, **_: Any) -> None:
        if isinstance(original, dict):
            return  # JSON: marshmallow refuses what it does not know, and keys are there once
        if unknown := set(original) - set(self.fields):
            raise ValidationError({name: ["Unknown field."] for name in unknown})
        single = {name for name, field in self.fields.items() if not isinstance(field, List)}
        if repeated := {name for name in single & set(original) if len(original.data.getlist(name)) > 1}:
            raise ValidationError({name: ["Must be given once."] for name in repeated})


class WholeText(Regexp):
    """A pattern for all of a text, in the words that JSON Schema knows: Python's `$` lets a line end follow."""

    def __call__(self, value: Any) -> Any:
        if self.regex.fullmatch(value) is None:
            raise ValidationError(self._format_error(value))
        return value


class TrueOrFalse(Boolean):
    """`true` or `false`: in JSON as such, elsewhere as text.

    Args:
        in_json: it comes as JSON, where the text "true" is none of the two.
        kwargs: as of every field.
    """

    def __init__(self, *, in_json: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._in_json = in_json

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if isinstance(value, bool):
            return value
        if self._in_json or value not in ("true", "false"):
            raise self.make_error("invalid", input=value)
        return bool(value == "true")


class WholeNumber(Integer):
    """An integer of JSON: 6 and 6.0, but neither "6" nor true."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value % 1:
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs)


class Number(Float):
    """A number of JSON, which "0.5" and true are not."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs)


OneFile: Any = File  # its package has no types


class Files(List[Any]):
    """Files of a form, a part each. The part without a file that a browser sends of an empty field is none of them."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(OneFile(), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        files = super()._deserialize(value, attr, data, **kwargs)
        if "" in list(value):  # which its package takes for such a part
            raise ValidationError("Not a valid file.")
        return [file for file in files if file is not missing]


ONE_LINE = WholeText("^[^\\u0000-\\u001f\\u007f-\\u009f]*$", error="Must be one line of text.")
LABEL_LENGTH = Length(max=LONGEST_LABEL)
A_LABEL = (LABEL_LENGTH, ONE_LINE)  # to be given to images

# Years 1 to 9999: what a moment is, wherever it goes from here.
_MOMENTS = Range(-62_135_596_800, 253_402_300_799)


def _all_different(values: list[str]) -> None:
    if len(set(values)) < len(values):
        raise ValidationError("Must be different ones.")


def moment(description: str) -> Float:
    """A moment that images are selected by."""
    return Float(load_default=None, validate=_MOMENTS, metadata=note(f"{description}, seconds since 1970"))


def image_ids(description: str, **options: Any) -> List[str]:
    """Ids of images. What is no id is one of no image: the answer says which."""
    one = String(validate=Length(max=LONGEST_ID))
    return List(one, validate=Length(1, MOST_IDS), metadata=note(description, [ID_EXAMPLE]), **options)


def different_images(description: str, most: int, **options: Any) -> List[str]:
    """Ids of two images or more, none of them twice."""
    said = note(description, [ID_EXAMPLE, "d7a8fbb307d7809469ca9abcb0082e4f"]) | {"uniqueItems": True}
    one = String(validate=Length(max=LONGEST_ID))
    return List(one, required=True, validate=(Length(2, most), _all_different), metadata=said, **options)
