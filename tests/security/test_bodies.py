"""What a body may be: small where nothing large is expected, and nothing that makes its reader fail."""

import io
import json
import re

import pytest

from tests.web.stand_in import photo
from web.bodies import SIGN_IN, SMALL, limit_of

ID = "0" * 32
API = "/api/v1"
HOSTILE_JSON = {
    "deep lists": b"[" * 60_000,
    "deep and whole": b"[" * 30_000 + b"]" * 30_000,
    "deep objects": b'{"id":' * 10_000,
    "a number of 5,000 digits": b'{"id": "%s", "k": %s}' % (ID.encode(), b"9" * 5_000),
    "NaN": b'{"id": "%s", "k": NaN}' % ID.encode(),
    "infinity": b'{"id": "%s", "k": 1e999}' % ID.encode(),
    "half a surrogate pair": b'{"label": "\\ud800"}',
    "half a surrogate pair as a key": b'{"\\udfff": 1}',
    "a control character": b'{"label": "a\\u0000b"}',
    "line ends": b'{"label": "a\\nb"}',
}
NUMBERS = ("zzz", "-1", "0x10", "9" * 5_000, "1e999", "nan", "\0", "%", "🦊", "' OR 1=1 --", "../../etc/passwd")


class CountedBody(io.RawIOBase):
    """A body that counts what is read of it."""

    def __init__(self, size: int) -> None:
        self.left, self.taken = size, 0

    def readinto(self, buffer) -> int:
        count = min(len(buffer), self.left)
        buffer[:count] = b"x" * count
        self.left -= count
        self.taken += count
        return count

    def readable(self) -> bool:
        return True


@pytest.mark.parametrize("method, path", [("POST", f"{API}/search"), ("PATCH", f"{API}/images/{ID}")])
@pytest.mark.parametrize("name", HOSTILE_JSON)
def test_hostile_json_is_422(browser, method, path, name):
    answer = browser.open(path, method=method, data=HOSTILE_JSON[name], content_type="application/json")
    is_cut = not HOSTILE_JSON[name].endswith((b"}", b"]"))  # nested so deep that nobody sees that it has no end
    assert answer.status_code == 422 or (is_cut and answer.status_code == 400), answer.text
    assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize(
    "path, method, limit",
    [
        (f"{API}/search", "POST", SMALL),
        (f"{API}/images/{ID}", "PATCH", SMALL),
        ("/images", "POST", SMALL),
        ("/models/train", "POST", SMALL),
        ("/sign-in", "POST", SIGN_IN),
        ("/sign-out", "POST", SMALL),
    ],
)
def test_a_body_over_the_routes_limit_is_413_and_not_read(browser, path, method, limit):
    body = CountedBody(20 * 2**20)
    environ = {"wsgi.input": body, "CONTENT_LENGTH": str(body.left)}
    kind = "application/json" if path.startswith(API) else "application/x-www-form-urlencoded"
    answer = browser.open(path, method=method, content_type=kind, environ_overrides=environ)
    assert answer.status_code == 413
    assert body.taken == 0
    assert f"{limit // 1024} kB" in answer.text


def test_every_route_takes_as_many_ids_as_its_document_says(app, browser):
    """The largest list of ids that a schema allows is within the limit of the route's body."""
    document = browser.get(f"{API}/openapi.json").json
    forms = document["components"]["schemas"]
    views = {rule.rpartition(".")[2]: view for rule, view in app.view_functions.items() if rule.startswith("api.")}
    seen = []
    for operation in (each for path in document["paths"].values() for each in path.values() if "operationId" in each):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        fields = forms[content["schema"]["$ref"].rpartition("/")[2]]["properties"] if content else {}
        if most := max((field.get("maxItems", 0) for field in fields.values()), default=0):
            needed = len(json.dumps({"keep": ID, "ids": [ID] * most}))
            with app.test_request_context():
                assert limit_of(views[operation["operationId"]], "application/json") >= needed, operation["operationId"]
            seen.append(operation["operationId"])
    assert {"change_images", "keep_one", "keep_apart", "restore_images", "give_answer"} <= set(seen)


def test_a_body_whose_length_nobody_tells_is_411_and_not_read(browser):
    body = CountedBody(20 * 2**20)
    environ = {"wsgi.input": body, "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    answer = browser.post(f"{API}/search", content_type="application/json", environ_overrides=environ)
    assert (answer.status_code, body.taken) == (411, 0)


def test_json_of_a_route_for_photos_is_small_too(browser):
    answer = browser.post(f"{API}/search", data=b" " * (SMALL + 1), content_type="application/json")
    assert answer.status_code == 413


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("query", ["after", "limit"])
def test_a_query_that_makes_no_sense_is_422(browser, red, query, number):
    assert browser.get(f"{API}/images", query_string={query: number}).status_code == 422


@pytest.mark.parametrize("number", NUMBERS)
def test_a_page_of_the_gallery_that_makes_no_sense_is_422(browser, red, number):
    assert browser.get("/gallery", query_string={"after": number}).status_code == 422


@pytest.mark.parametrize("field", ["k", "rerank", "wait_s", "label_from"])
@pytest.mark.parametrize("value", NUMBERS)
def test_a_form_of_the_api_that_makes_no_sense_is_422(browser, red, field, value):
    path = f"{API}/search" if field in ("k", "rerank") else f"{API}/images"
    name = "image" if path.endswith("search") else "images"
    answer = browser.post(path, data={name: (io.BytesIO(photo()), "a.jpg"), field: value})
    assert answer.status_code == 422


@pytest.mark.parametrize("label", ["a\0b", "a\nb", "x" * 201, "\x1b[31mred"])
def test_a_label_that_is_no_line_of_text_is_422_wherever_it_comes_from(browser, red, label):
    csrf_token = re.search(r'name="csrf_token" value="([^"]+)"', browser.get("/add").text)[1]
    image = (io.BytesIO(photo()), "a.jpg")
    for answer in (
        browser.patch(f"{API}/images/{red}", json={"label": label}),
        browser.post(f"{API}/images", data={"images": image, "label": label}),
        browser.post("/images", data={"csrf_token": csrf_token, "ids": red, "action": "label", "label": label}),
        browser.post("/add", data={"csrf_token": csrf_token, "images": (io.BytesIO(photo()), "a.jpg"), "label": label}),
    ):
        assert answer.status_code == 422
    assert browser.get(f"{API}/images/{red}").json["label"] == "red"


@pytest.mark.parametrize("value", NUMBERS)
@pytest.mark.parametrize(
    "path, field",
    [
        ("/", "k"),
        ("/", "id"),
        ("/images", "ids"),
        ("/images", "action"),
        ("/models/train", "how"),
        ("/models/train", "trials"),
        ("/models/publish", "model"),
        ("/sign-in", "next"),
    ],
)
def test_no_form_of_a_page_makes_the_portal_fail(browser, path, field, value):
    csrf_token = re.search(r'name="csrf_token" value="([^"]+)"', browser.get("/add").text)[1]
    for more in ({}, {"how": "sweep"}):
        answer = browser.post(path, data={"csrf_token": csrf_token, **more, field: value})
        assert answer.status_code < 500, answer.text


@pytest.mark.parametrize("path", ["/jobs/{}", f"{API}/jobs/{{}}", f"{API}/images/{{}}", "/images/{}", "/{}", "/?id={}"])
@pytest.mark.parametrize("value", ["%00", "%ED%A0%80", "%FF", "%0A", "..%2f..%2fetc", "%25n", "a" * 9_000])
def test_no_address_makes_the_portal_fail(browser, path, value):
    assert browser.get(path.format(value)).status_code in (200, 404)
