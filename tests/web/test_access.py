"""Who may ask what: every route, with and without a token."""

import dataclasses

import pytest

from tests.web.stand_in import StandInClient
from web import create_app

TOKEN = "a-token-that-a-machine-made-7f3d"
OTHER = "a-token-for-somebody-else-91ac"
OPEN = {"static", "probes.live", "probes.ready", "sign_in.page", "sign_in.sign_in", "sign_in.sign_out"}


@pytest.fixture
def closed_app(portal_settings):
    """A portal that needs a token."""
    settings = dataclasses.replace(portal_settings, api_tokens=(OTHER, TOKEN))
    return create_app(settings, client=StandInClient(settings))


@pytest.fixture
def stranger(closed_app):
    return closed_app.test_client()


def routes(app):
    """Every route with its method, variables filled in."""
    for rule in app.url_map.iter_rules():
        path = str(rule).replace("<id>", "0" * 32).replace("<job_id>", "j").replace("<path:filename>", "icon.svg")
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield rule.endpoint, method, path


def sign_in(browser, token=TOKEN, goal="/gallery"):
    """Through the form, as a person does."""
    browser.get("/sign-in")
    with browser.session_transaction() as session:
        assert "csrf_token" in session
    page = browser.get("/sign-in").text
    csrf_token = page.split('name="csrf_token" value="')[1].split('"')[0]
    return browser.post("/sign-in", data={"token": token, "next": goal, "csrf_token": csrf_token})


def test_without_tokens_everyone_on_this_machine_may_use_every_route(app, browser):
    for endpoint, method, path in routes(app):
        assert browser.open(path, method=method).status_code not in (401, 403), endpoint


def test_with_tokens_every_route_but_the_open_ones_asks_a_stranger_for_one(closed_app, stranger):
    for endpoint, method, path in routes(closed_app):
        answer = stranger.open(path, method=method)
        if endpoint in OPEN:
            assert answer.status_code != 401
        elif method == "GET" and not path.startswith("/api/"):
            assert answer.status_code == 302, endpoint
            assert answer.headers["Location"].startswith("/sign-in?next=/"), endpoint
        else:
            assert answer.status_code == 401, endpoint
            assert answer.headers["WWW-Authenticate"].startswith("Bearer"), endpoint


def test_addresses_that_do_not_exist_tell_a_stranger_nothing_either(stranger):
    assert stranger.get("/api/v1/nothing").status_code == 401


@pytest.mark.parametrize("token", [TOKEN, OTHER])
def test_each_of_the_tokens_opens_the_api(stranger, token):
    answer = stranger.get("/api/v1/labels", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        "Bearer é",
        TOKEN,
    ],
)
def test_no_other_header_does(stranger, header):
    answer = stranger.get("/api/v1/labels", headers={"Authorization": header.encode().decode("latin-1")})
    assert (answer.status_code, answer.content_type) == (401, "application/problem+json")
    assert "LOOKALIKE_API_TOKENS" in answer.json["hint"]


def test_probes_tell_a_stranger_no_detail(stranger):
    assert stranger.get("/health/ready").json == {"status": "ready"}
    assert stranger.get("/health/live").json == {"status": "alive"}


class TestSigningIn:
    def test_a_token_opens_pages_and_api_and_leads_to_where_one_wanted_to_go(self, stranger):
        answer = sign_in(stranger, goal="/gallery?label=red")
        assert (answer.status_code, answer.headers["Location"]) == (302, "/gallery?label=red")
        assert stranger.get("/gallery").status_code == 200
        assert stranger.get("/api/v1/labels").status_code == 200

    def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(self, stranger):
        cookie = sign_in(stranger).headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert "Secure" not in cookie
        assert TOKEN not in cookie

    def test_behind_tls_the_cookie_is_secure(self, closed_app):
        browser = closed_app.test_client()
        page = browser.get("/sign-in", base_url="https://photos.example").text
        csrf_token = page.split('name="csrf_token" value="')[1].split('"')[0]
        answer = browser.post(
            "/sign-in",
            data={"token": TOKEN, "csrf_token": csrf_token},
            base_url="https://photos.example",
            headers={"Referer": "https://photos.example/sign-in"},
        )
        assert answer.status_code == 302
        assert "Secure" in answer.headers["Set-Cookie"]
        assert answer.headers["Strict-Transport-Security"]

    def test_a_wrong_token_opens_nothing_and_is_told_so(self, stranger):
        answer = sign_in(stranger, "wrong")
        assert answer.status_code == 401
        assert "does not open this portal" in answer.text
        assert stranger.get("/gallery").status_code == 302

    def test_signing_out_ends_it(self, stranger):
        sign_in(stranger)
        page = stranger.get("/gallery").text
        csrf_token = page.split('name="csrf_token" value="')[1].split('"')[0]
        assert stranger.post("/sign-out", data={"csrf_token": csrf_token}).status_code == 302
        assert stranger.get("/gallery").status_code == 302

    def test_a_withdrawn_token_ends_its_sessions(self, closed_app, stranger, portal_settings):
        sign_in(stranger)
        cookie = stranger.get_cookie("lookalike").value
        settings = dataclasses.replace(portal_settings, api_tokens=(OTHER,))
        later = create_app(settings, client=StandInClient(settings)).test_client()
        later.set_cookie("lookalike", cookie)
        assert later.get("/gallery").status_code == 302

    def test_a_session_of_another_key_is_worth_nothing(self, closed_app, stranger, portal_settings):
        sign_in(stranger)
        cookie = stranger.get_cookie("lookalike").value
        (portal_settings.home / "run" / "session.key").unlink()
        settings = dataclasses.replace(portal_settings, api_tokens=(TOKEN,))
        other = create_app(settings, client=StandInClient(settings)).test_client()
        other.set_cookie("lookalike", cookie)
        assert other.get("/gallery").status_code == 302

    @pytest.mark.parametrize(
        "goal",
        ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "", "/\t/evil.example"],
    )
    def test_it_leads_to_no_other_site(self, stranger, goal):
        assert sign_in(stranger, goal=goal).headers["Location"] == "/"

    def test_guessing_is_slowed_down(self, stranger):
        answers = [sign_in(stranger, f"guess {n}") for n in range(6)]
        assert [answer.status_code for answer in answers] == [401] * 5 + [429]
        assert 0 < int(answers[-1].headers["Retry-After"]) <= 60
        assert sign_in(stranger, "guess the right one").status_code == 429

    def test_one_guesser_does_not_keep_others_out(self, closed_app, stranger):
        for n in range(6):
            sign_in(stranger, f"guess {n}")
        other = closed_app.test_client()
        other.environ_base["REMOTE_ADDR"] = "192.0.2.7"
        assert sign_in(other).status_code == 302


def test_the_session_key_is_made_once_and_readable_by_its_owner_alone(portal_settings, app):
    path = portal_settings.home / "run" / "session.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_text()) >= 48
    assert create_app(portal_settings, client=StandInClient(portal_settings)).secret_key == app.secret_key
    assert [each.name for each in path.parent.iterdir()] == ["session.key"]
