"""Every route, asked by a stranger and with a token of each role: who is let in is what the route states.

`pytest -v tests/security/test_roles.py` prints the table.
"""

import dataclasses
from collections.abc import Iterator

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from tests.web.stand_in import StandInClient
from web import create_app
from web.access.roles import is_public, requires, role_of
from workers.client import Role

SECRETS = {role: f"secret-of-the-{role}-4711" for role in Role}
WHO = (None, *Role)


@pytest.fixture
def settings(portal_settings):
    tokens = tuple(f"{role}-anna:{role}:{secret}" for role, secret in SECRETS.items())
    return dataclasses.replace(portal_settings, api_tokens=tokens)


@pytest.fixture
def app(settings) -> APIFlask:
    app = create_app(settings, client=StandInClient(settings))
    app.testing = False
    return app


@pytest.fixture
def asking(app) -> FlaskClient:
    return app.test_client()


def routes(app: APIFlask) -> Iterator[tuple[str, str, str]]:
    """Endpoint, method and address of every route, variables filled in."""
    for rule in app.url_map.iter_rules():
        path = (
            str(rule)
            .replace("<id>", "0" * 32)
            .replace("<job_id>", "j")
            .replace("<path:filename>", "icon.svg")
            .replace("<model>", "m")
        )
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield rule.endpoint, method, path


def bearer(role: Role | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {SECRETS[role]}"} if role else {}


# What each role may do, written down once more: a route that is opened to more people than before has to be, here too.
EXPECTED = {
    None: {"static", "probes.live", "probes.ready", "sign_in.page", "sign_in.sign_in", "sign_in.sign_out"},
    Role.METRICS: {"probes.metrics"},
    Role.VIEWER: {
        *("search.page", "search.page_with_image", "gallery.page", "gallery.image", "models.page", "system.status"),
        *("api.search.search", "api.images.list_images", "api.images.get_image", "api.images.get_thumbnail"),
        *("api.images.get_original", "api.system.list_labels", "api.system.get_health", "openapi.spec"),
        *("gallery.trash", "api.images.get_view", "api.changes.list_trash", "api.system.list_folders"),
        *("api.answers.list_answers", "api.system.list_unlabelled", "api.system.list_outliers"),
        *("labelling.queue", "labelling.label"),
        "api.duplicates.list_duplicates",
        *("api.models.list_models", "api.models.list_queries"),
        *("duplicates.page", "api.duplicates.list_duplicate_groups"),
        *("coverage.page", "coverage.find", "api.coverage.list_coverage", "api.coverage.find_photo"),
    },
    Role.EDITOR: {
        *(
            "api.duplicates.find_duplicates",
            "api.duplicates.keep_one",
            "api.duplicates.keep_apart",
            "duplicates.find",
            "duplicates.edit",
            "api.answers.give_answer",
            "labelling.confirm",
        ),
        *("adding.page", "adding.add", "gallery.edit", "jobs.job", "api.system.get_job"),
        *("api.models.get_preview", "api.models.save_query", "api.models.save_photo_query", "api.models.forget_query"),
        "api.models.restore_query",
        *("models.preview", "models.save_query", "models.save_photo_query", "models.forget_query"),
        *("jobs.page", "jobs.report", "api.system.list_jobs", "coverage.try_again", "api.coverage.retry_coverage"),
        *("api.images.add_images", "api.images.update_image", "api.images.delete_image"),
        *("gallery.edit_label", "gallery.undo", "gallery.edit_trash", "api.changes.change_images"),
        *(
            "api.changes.replace_label",
            "api.changes.undo_change",
            "api.changes.restore_images",
            "api.changes.empty_trash",
        ),
    },
    Role.ADMIN: {
        "api.models.publish_model",
        "api.models.roll_back",
        "api.models.train_model",
        "api.models.tune_model",
        *("models.train", "models.tune", "models.publish", "models.rollback"),
        *("jobs.stop", "jobs.try_again", "api.system.stop_job", "api.system.retry_job"),
    },
}


def test_routes_are_open_to_whom_they_should_be_and_to_nobody_else(app, asking, capsys, request):
    rows = []
    for endpoint, method, path in routes(app):
        let_in = {}
        for role in WHO:
            status = asking.open(path, method=method, headers=bearer(role)).status_code
            # A page of forms refuses one without its form token with 400 after the role was found to be right.
            let_in[role] = status not in (401, 403, 429) and not (status == 302 and role is None)
        assert any(endpoint in endpoints for endpoints in EXPECTED.values()), endpoint
        needed = next(role for role, endpoints in EXPECTED.items() if endpoint in endpoints)
        expected = {role: needed is None or (role is not None and role.includes(needed)) for role in WHO}
        if endpoint == "sign_in.sign_out":
            expected = let_in  # leads everyone to the sign-in page
        rows.append(f"{method:7}{path:48}" + "".join(f"{'yes' if let_in[role] else '–':9}" for role in WHO))
        assert let_in == expected, f"{endpoint}: {let_in}"
    assert {endpoint for endpoint, *_ in routes(app)} == set().union(*EXPECTED.values())
    if request.config.getoption("verbose") >= 0:  # -v, as our settings say -q
        with capsys.disabled():
            head = "".join(f"{role or 'anyone':9}" for role in WHO)
            print(f"\n{'':7}{'route':48}{head}", *rows, sep="\n")


def test_a_route_that_states_no_role_is_closed_even_to_admins(app, asking):
    app.add_url_rule("/forgotten", "forgotten", lambda: "hello")
    assert asking.get("/forgotten", headers=bearer(Role.ADMIN)).status_code == 403


def test_a_route_that_states_no_role_is_closed_on_a_portal_without_tokens_too(portal_settings):
    app = create_app(portal_settings, client=StandInClient(portal_settings))
    app.add_url_rule("/forgotten", "forgotten", lambda: "hello")
    app.add_url_rule("/stated", "stated", requires(Role.VIEWER)(lambda: "hello"))
    assert app.test_client().get("/forgotten").status_code == 403
    assert app.test_client().get("/stated").status_code == 200


def test_every_route_states_its_role(app):
    views = app.view_functions
    assert not [name for name, view in views.items() if not is_public(view) and role_of(view) is None]


@pytest.mark.parametrize("path", ["/nothing", "/api/v1/nothing", "/jobs"])
def test_addresses_that_do_not_exist_tell_a_stranger_nothing(asking, path):
    assert asking.get(path).status_code in (302, 401)


def test_a_refusal_names_the_role_that_is_needed(asking):
    answer = asking.delete(f"/api/v1/images/{'0' * 32}", headers=bearer(Role.VIEWER))
    assert (answer.status_code, answer.content_type) == (403, "application/problem+json")
    assert "editor" in answer.json["detail"] and "viewer" in answer.json["detail"]


def test_the_metrics_token_reads_metrics_and_nothing_else(asking):
    assert asking.get("/metrics", headers=bearer(Role.METRICS)).status_code == 200
    for path in ("/", "/gallery", "/api/v1/images", "/api/v1/health", "/status", "/api/v1/openapi.json"):
        assert asking.get(path, headers=bearer(Role.METRICS)).status_code == 403


def test_only_admins_see_the_settings(asking):
    assert asking.get("/api/v1/health", headers=bearer(Role.VIEWER)).json["settings"] == {}
    assert "LOOKALIKE_DEVICE" in asking.get("/api/v1/health", headers=bearer(Role.ADMIN)).json["settings"]
    assert "LOOKALIKE_DEVICE" not in asking.get("/status", headers=bearer(Role.VIEWER)).text
    assert "LOOKALIKE_DEVICE" in asking.get("/status", headers=bearer(Role.ADMIN)).text


@pytest.mark.parametrize("role", [Role.VIEWER, Role.EDITOR, Role.ADMIN])
def test_pages_lead_nobody_to_a_refusal(app, asking, role):
    images = app.extensions["lookalike"]
    from tests.web.conftest import keep

    id = keep(images, (200, 30, 30), "reds/cherry.jpg", "red")
    job = images.index([id])
    for page in ("/", "/gallery", f"/images/{id}", "/add", "/models", "/status", f"/jobs/{job}"):
        answer = asking.get(page, headers=bearer(role))
        if answer.status_code == 403:
            continue
        forms = {part.split('"')[0] for part in answer.text.split('action="')[1:]} - {"/sign-out"}
        links = {part.split('"')[0].split("?")[0] for part in answer.text.split('href="/')[1:]} - {"static"}
        for link in links:
            if not link.startswith(("static/", "sign-in")):
                assert asking.get(f"/{link}", headers=bearer(role)).status_code != 403, (page, link)
        for form in forms:
            if form in ("/images", "/undo") and role is Role.VIEWER:
                continue  # the gallery's list has no button then, and Undo is hidden until one has changed something
            assert asking.post(form, headers=bearer(role)).status_code != 403, (page, form)
