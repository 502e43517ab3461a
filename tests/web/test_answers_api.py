"""PUT and GET /api/v1/answers: same, or not the same."""

import pytest

URL = "/api/v1/answers"
ELSEWHERE = "ab" * 16  # a query photo that is not in the gallery


def about(browser, image):
    return {each["other"]: each["same"] for each in browser.get(URL, query_string={"image": image}).json["answers"]}


def test_an_answer_is_remembered_counted_and_taken_back(browser, red, blue):
    given = browser.put(URL, json={"images": [red, blue], "same": False})
    assert given.json == {"images": [red, blue], "same": False, "since_training": 1}
    assert browser.put(URL, json={"images": [ELSEWHERE, red], "same": True}).json["since_training"] == 2
    assert about(browser, red) == {blue: False, ELSEWHERE: True}
    assert about(browser, blue) == {red: False}
    assert browser.put(URL, json={"images": [blue, red], "same": None}).json["since_training"] == 1
    assert about(browser, red) == {ELSEWHERE: True}


@pytest.mark.parametrize(
    "asked, status",
    [
        ({"images": [ELSEWHERE, "no id"]}, 404),
        ({"same": "perhaps"}, 422),
        ({"images": [ELSEWHERE, None]}, 422),
        ({"images": [ELSEWHERE]}, 422),
        ({"images": [ELSEWHERE, ELSEWHERE]}, 422),
    ],
)
def test_what_is_no_answer_is_refused(browser, red, blue, asked, status):
    asked = {"images": [ELSEWHERE, red], "same": True} | asked
    assert browser.put(URL, json=asked).status_code == status
    assert about(browser, ELSEWHERE) == {}


def test_the_document_says_that_the_two_differ(browser):
    form = browser.get("/api/v1/openapi.json").json["components"]["schemas"]["AnswerForm"]["properties"]["images"]
    assert (form["uniqueItems"], form["minItems"], form["maxItems"]) == (True, 2, 2)
