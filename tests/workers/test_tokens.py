"""Tokens have names and roles; what is none is refused, and never shown."""

import pytest

from workers.settings import BadSettings, load
from workers.tokens import ApiToken, Role, parse


def test_a_token_is_name_role_and_secret():
    assert parse(["anna:editor:s3:cret"]) == (ApiToken("anna", Role.EDITOR, "s3:cret"),)


def test_a_secret_alone_is_an_admins_and_named_after_its_hash():
    (token,) = parse(["plain-secret"])
    assert (token.role, token.secret) == (Role.ADMIN, "plain-secret")
    assert token.name.startswith("token-") and "plain" not in token.name


@pytest.mark.parametrize(
    "texts, complaint",
    [
        (["anna:boss:secret"], "the role of token anna must be one of metrics, viewer, editor, admin, got 'boss'"),
        (["anna:secret"], "must be name:role:secret"),
        (["anna:editor:"], "must be name:role:secret"),
        ([":editor:secret"], "must be name:role:secret"),
        (["a b:editor:secret"], "must be name:role:secret"),
        (["a:editor:one", "a:viewer:two"], "the same name"),
        (["a:editor:one", "b:viewer:one"], "the same secret"),
    ],
)
def test_what_is_no_token_is_refused_and_no_secret_shown(texts, complaint):
    with pytest.raises(BadSettings, match=complaint) as caught:
        load({"LOOKALIKE_API_TOKENS": ",".join(texts)})
    assert "LOOKALIKE_API_TOKENS" in str(caught.value)


@pytest.mark.parametrize("role", Role)
def test_roles_grow_and_metrics_stands_apart(role):
    may = {needed for needed in Role if role.includes(needed)}
    assert (
        may
        == {
            Role.METRICS: {Role.METRICS},
            Role.VIEWER: {Role.VIEWER},
            Role.EDITOR: {Role.VIEWER, Role.EDITOR},
            Role.ADMIN: set(Role),
        }[role]
    )


def test_a_token_does_not_print_its_secret():
    assert "s3cret" not in repr(parse(["anna:editor:s3cret"]))
