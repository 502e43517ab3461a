"""Settings that are shown tell no secret."""

import pytest

from workers import settings


@pytest.mark.parametrize("url", ["redis://:p4ss@host:6379/0", "redis://user:p4ss@host/0", "redis://:p4ss/@x@host/0"])
def test_the_password_of_an_address_is_not_shown(url):
    loaded = settings.load(
        {"LOOKALIKE_REDIS_URL": url, "LOOKALIKE_API_TOKENS": "p4ss", "LOOKALIKE_QDRANT_API_KEY": "p4ss"}
    )
    shown = loaded.shown()
    assert "p4ss" not in str(shown)
    assert shown["LOOKALIKE_REDIS_URL"].startswith("redis://…@host")
    assert shown["LOOKALIKE_API_TOKENS"] == shown["LOOKALIKE_QDRANT_API_KEY"] == "set"


def test_an_address_without_a_password_is_shown_as_it_is():
    shown = settings.load({"LOOKALIKE_REDIS_URL": "redis://host:6379/0"}).shown()
    assert shown["LOOKALIKE_REDIS_URL"] == "redis://host:6379/0"
