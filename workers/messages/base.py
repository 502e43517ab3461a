"""The base of all messages: JSON in and out, for frozen dataclasses of plain JSON types."""

from dataclasses import dataclass
from typing import Any, Self

import msgspec


def plain(value: Any) -> str:
    """A checked name as plain text: an encoder's hook for what it does not know."""
    if isinstance(value, str):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON type")


@dataclass(frozen=True)
class Message:
    """Base of everything here."""

    def to_json(self) -> dict[str, Any]:
        """A dict of plain JSON types."""
        made: dict[str, Any] = msgspec.to_builtins(self, enc_hook=plain)
        return made

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_json`. Unknown keys are ignored, so that old and new processes understand each other.

        Raises:
            ValueError: something is missing or of another type.
        """
        return msgspec.convert(data, cls)
