"""API tokens: a name, a role and a secret. `LOOKALIKE_API_TOKENS` holds them as `name:role:secret`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256


class Role(StrEnum):
    """What the holder of a token may do. Each role after `metrics` may do what the one before it may."""

    METRICS = "metrics"  # read /metrics, nothing else
    VIEWER = "viewer"  # search, and look at photos
    EDITOR = "editor"  # add, label and delete photos
    ADMIN = "admin"  # train, publish, stop jobs, read metrics

    def includes(self, needed: "Role") -> bool:
        """Whether whoever has this role may do what needs that one."""
        if Role.METRICS in (self, needed):
            return self in (needed, Role.ADMIN)
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(needed)


@dataclass(frozen=True)
class ApiToken:
    """One token. `name` is what logs say; the secret is what is shown at the door."""

    name: str
    role: Role
    secret: str = field(repr=False)


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


def parse(texts: Sequence[str]) -> tuple[ApiToken, ...]:
    """The tokens of LOOKALIKE_API_TOKENS.

    Args:
        texts: each `name:role:secret`, or a secret alone: that of an admin, named after its hash.

    Raises:
        ValueError: one has another form, or two share a name or a secret. The message shows no secret.
    """
    tokens = tuple(_token(text, number) for number, text in enumerate(texts, 1))
    for attribute in ("name", "secret"):
        if len({getattr(token, attribute) for token in tokens}) < len(tokens):
            raise ValueError(f"two tokens have the same {attribute}")
    return tokens


def _token(text: str, number: int) -> ApiToken:
    if ":" not in text:
        return ApiToken(f"token-{sha256(text.encode()).hexdigest()[:8]}", Role.ADMIN, text)
    name, _, rest = text.partition(":")
    role, _, secret = rest.partition(":")
    if not _NAME.fullmatch(name) or not secret:
        raise ValueError(f"token {number} must be name:role:secret, or a secret without a colon")
    if role not in list(Role):
        raise ValueError(f"the role of token {name} must be one of {', '.join(Role)}, got {role[:20]!r}")
    return ApiToken(name, Role(role), secret)
