"""Signing in, staying signed in, being signed out; guessing; and forms whose session ended."""

import dataclasses
import io
import re

import pytest

from tests.web.conftest import keep
from tests.web.stand_in import StandInClient, photo
from web import create_app

SECRET = "a-secret-that-a-machine-made-7f3d"
OTHER = "zz-a-secret-for-somebody-else-91ac"


@pytest.fixture
def settings(portal_settings):
    return dataclasses.replace(portal_settings, api_tokens=(f"anna:admin:{SECRET}", f"ben:viewer:{OTHER}"))


@pytest.fixture
def workers_side(settings):
    return StandInClient(settings)


@pytest.fixture
def app(settings, workers_side):
    app = create_app(settings, client=workers_side)
    app.testing = False
    return app


@pytest.fixture
def person(app):
    return app.test_client()


def form_token(page: str) -> str:
    return re.search(r'name="csrf_token" value="([^"]+)"', page)[1]


def sign_in(browser, secret=SECRET, **fields):
    page = browser.get("/sign-in").text
    return browser.post("/sign-in", data={"token": secret, "csrf_token": form_token(page), **fields})


def sign_out(browser):
    return browser.post("/sign-out", data={"csrf_token": form_token(browser.get("/gallery").text)})


class TestSigningOut:
    def test_a_copy_of_the_cookie_is_worth_nothing_afterwards(self, app, person):
        sign_in(person)
        copy = app.test_client()
        copy.set_cookie("lookalike", person.get_cookie("lookalike").value)
        assert copy.get("/gallery").status_code == 200
        sign_out(person)
        assert copy.get("/gallery").status_code == 302
        assert copy.get("/api/v1/labels").status_code == 401

    def test_other_sessions_of_the_same_token_go_on(self, app, person):
        elsewhere = app.test_client()
        sign_in(person), sign_in(elsewhere)
        sign_out(person)
        assert elsewhere.get("/gallery").status_code == 200

    def test_signing_in_again_ends_the_session_before(self, app, person):
        sign_in(person)
        copy = app.test_client()
        copy.set_cookie("lookalike", person.get_cookie("lookalike").value)
        sign_in(person)
        assert copy.get("/gallery").status_code == 302

    def test_the_cookie_holds_nothing_that_the_token_could_be_guessed_from(self, app, person):
        sign_in(person)
        with person.session_transaction() as session:
            assert set(session) <= {"id", "csrf_token", "_permanent"}


def bearer(browser, secret, address="192.0.2.1"):
    return browser.get(
        "/api/v1/labels", headers={"Authorization": f"Bearer {secret}"}, environ_overrides={"REMOTE_ADDR": address}
    )


class TestGuessing:
    def test_bearer_tokens_are_slowed_down_like_sign_ins(self, person):
        answers = [bearer(person, f"{SECRET[:6]}{n}") for n in range(7)]
        assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 2
        assert answers[-1].content_type == "application/problem+json"
        assert 0 < int(answers[-1].headers["Retry-After"]) <= 60

    def test_while_one_guesses_at_a_token_even_the_right_one_waits_at_that_address_alone(self, person):
        for n in range(6):
            bearer(person, f"{SECRET[:6]}{n}")
        assert bearer(person, SECRET).status_code == 429
        assert bearer(person, SECRET, address="192.0.2.2").status_code == 200

    def test_others_behind_the_same_proxy_are_not_locked_out(self, person):
        for n in range(60):
            bearer(person, f"{SECRET[:6]}{n}")
        assert bearer(person, OTHER).status_code == 200

    def test_sign_ins_and_bearer_tokens_count_together(self, app, person):
        for n in range(5):
            sign_in(person, f"{SECRET[:6]}{n}")
        assert bearer(app.test_client(), SECRET, address="127.0.0.1").status_code == 429

    def test_an_ipv6_guesser_does_not_change_the_address_within_a_network(self, person):
        for n in range(6):
            bearer(person, f"{SECRET[:6]}{n}", address=f"2001:db8::{n}")
        assert bearer(person, SECRET, address="2001:db8::ffff").status_code == 429
        assert bearer(person, SECRET, address="2001:db8:0:1::1").status_code == 200

    def test_right_tokens_are_never_counted(self, person):
        assert {bearer(person, SECRET).status_code for _ in range(20)} == {200}


class TestFormsOfAnEndedSession:
    @pytest.fixture
    def images(self, workers_side):
        return [keep(workers_side, (n, 10, 10), f"{n}.jpg", None) for n in range(0, 240, 4)]

    def expired(self, workers_side, person, page="/gallery"):
        """A form's token of a page that was loaded while signed in; then the session ends on the server."""
        sign_in(person)
        token = form_token(person.get(page).text)
        workers_side.sessions._holders.clear()
        return token

    def signed_in_again(self, person, answer):
        assert answer.status_code == 401
        assert "Sign in, and go on where you were" in answer.text
        kept = re.search(r'name="resume" value="([^"]+)"', answer.text)[1]
        fields = {"token": SECRET, "csrf_token": form_token(answer.text), "resume": kept}
        return person.post("/sign-in", data=fields)

    def test_what_was_typed_is_shown_and_sent_by_one_button(self, workers_side, person, images):
        data = {"csrf_token": self.expired(workers_side, person), "ids": images, "action": "label", "label": "mügs"}
        headers = {"Referer": "http://localhost/gallery?label=x"}
        offer = self.signed_in_again(person, person.post("/images", data=data, headers=headers))
        assert offer.status_code == 200
        assert "60 chosen" in offer.text and "mügs" in offer.text
        assert "/gallery?label=x" in offer.text
        assert workers_side.image(images[0]).label is None
        fields = re.findall(
            r'<input type="hidden" name="([^"]+)" value="([^"]*)">', offer.text.split("Not sent yet")[-1]
        )
        data = {}
        for name, value in fields:
            data.setdefault(name, []).append(value)
        action = re.search(r'action="(/images[^"]*)"', offer.text)[1]
        back = person.post(action, data=data, headers={"Referer": "http://localhost/sign-in"})
        assert (back.status_code, back.headers["Location"]) == (302, "/gallery?label=x")
        data["came_from"] = ["//evil.example/"]
        assert person.post(action, data=data).headers["Location"] == "/evil.example/"
        assert {workers_side.image(id).label for id in images} == {"mügs"}

    def test_a_form_with_files_leads_back_to_it_with_the_rest_filled_in(self, workers_side, person):
        data = {"csrf_token": self.expired(workers_side, person, "/add"), "label": "red mugs"}
        data["images"] = (io.BytesIO(photo()), "a.jpg")
        answer = person.post("/add", data=data, headers={"Referer": "http://localhost/add"})
        back = self.signed_in_again(person, answer)
        assert (back.status_code, back.headers["Location"]) == (302, "/add?label=red+mugs")
        assert 'value="red mugs"' in person.get(back.headers["Location"]).text

    def test_a_form_of_a_session_that_another_tab_began_is_offered_too(self, workers_side, person, images):
        data = {"csrf_token": self.expired(workers_side, person), "ids": images[:2], "action": "label", "label": "x"}
        sign_in(person)
        answer = person.post("/images", data=data)
        assert answer.status_code == 400
        assert "2 chosen" in answer.text and "Send it now" in answer.text

    def test_nobody_but_we_can_write_what_is_offered(self, person):
        answer = sign_in(person, resume="eyJhIjoxfQ.forged.signature")
        assert (answer.status_code, answer.headers["Location"]) == (302, "/")

    def test_strangers_make_us_read_no_photos(self, person):
        class Body(io.RawIOBase):
            taken = 0

            def readable(self):
                return True

            def readinto(self, buffer):
                Body.taken += len(buffer)
                return len(buffer)

        environ = {"wsgi.input": Body(), "CONTENT_LENGTH": str(5 * 2**20)}
        answer = person.post("/add", content_type="multipart/form-data; boundary=x", environ_overrides=environ)
        assert (answer.status_code, Body.taken) == (413, 0)

    def test_a_form_that_is_too_much_to_carry_still_leads_to_signing_in(self, workers_side, person):
        data = {"csrf_token": self.expired(workers_side, person), "action": "label"}
        data["label"] = "".join(chr(0x4E00 + 7 * n % 20_000) for n in range(3_000))
        answer = person.post("/images", data=data)
        assert answer.status_code == 401
        assert 'name="resume"' not in answer.text
