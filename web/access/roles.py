"""Which role a route needs, stated where the route is. A route that states none is closed to everyone."""

from collections.abc import Callable
from typing import Any, TypeVar

from flask import current_app

from web.access.principals import current_principal
from workers.client import Role

View = TypeVar("View", bound=Callable[..., Any])


def requires(role: Role) -> Callable[[View], View]:
    """States the role that a view needs."""

    def mark(view: View) -> View:
        view.role = role  # type: ignore[attr-defined]
        return view

    return mark


def public(view: View) -> View:
    """States that a view needs no token. It must tell nothing that a stranger may not know."""
    view.is_public = True  # type: ignore[attr-defined]
    return view


def is_public(view: Callable[..., Any] | None) -> bool:
    """Whether a view needs no token."""
    return bool(getattr(view, "is_public", False))


def role_of(view: Callable[..., Any] | None) -> Role | None:
    """The role that a view states."""
    role: Role | None = getattr(view, "role", None)
    return role


def may(endpoint: str) -> bool:
    """Whether who asks may use the route: what pages show nobody is led to a refusal by."""
    principal, needed = current_principal(), role_of(current_app.view_functions[endpoint])
    return principal is not None and needed is not None and principal.role.includes(needed)
