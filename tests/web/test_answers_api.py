"""PUT and GET /api/v1/answers: same, or not the same."""

import pytest

URL = "/api/v1/answers"
ELSEWHERE = "ab" * 16  # a query photo that is not in the gallery


def about(browser, image):
    return {each["other"]: each["same"] for each in browser.get(URL, query_string={"image": image}).json["answers"]}


def test_an_answer_is_remembered_counted_and_taken_back(browser, red, blue):
    given = browser.put(URL, json={"image": red, "other": blue, "same": False})
    assert given.json == {"image": red, "other": blue, "same": False, "since_training": 1}
    assert browser.put(URL, json={"image": ELSEWHERE, "other": red, "same": True}).json["since_training"] == 2
    assert about(browser, red) == {blue: False, ELSEWHERE: True}
    assert about(browser, blue) == {red: False}
    assert browser.put(URL, json={"image": blue, "other": red, "same": None}).json["since_training"] == 1
    assert about(browser, red) == {ELSEWHERE: True}


@pytest.mark.parametrize(
    "asked, status",
    [({"other": "no id"}, 404), ({"same": "perhaps"}, 422), ({"other": None}, 422), ({"other": ...}, 422)],
)
def test_what_is_no_answer_is_refused(browser, red, blue, asked, status):
    asked = {"image": red, "other": blue, "same": True} | asked
    if asked["other"] is ...:
        asked["other"] = red
    assert browser.put(URL, json=asked).status_code == status
    assert about(browser, red) == {}
