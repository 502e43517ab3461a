"""Saved queries, and what a new model would answer to them, side by side."""

import io

from tests.web.forms import post
from tests.web.stand_in import photo
from workers.messages import PreviewedHit, PreviewedQuery


def hit(id, change, rank=1, other=None):
    return PreviewedHit(id, "a.jpg", None, 0.9, rank, other, change, change == "gained")


def test_a_model_is_looked_at_and_published_from_there(browser, workers_side, red, blue):
    job = post(browser, "/models/publish", model="better", preview="1").headers["Location"].rsplit("/", 1)[1]
    assert "Look at the preview" in browser.get(f"/jobs/{job}").text
    assert "nothing to compare yet" in browser.get(f"/jobs/{job}/preview").text
    workers_side.previews = [
        PreviewedQuery(red, "red.jpg", "saved", None, (hit(blue, "lost"),), (hit(blue, "gained"),), 0, 1)
    ]
    page = browser.get(f"/jobs/{job}/preview").text
    gained = page[page.index('<li class="gained">') :]
    assert '<span class="visually-hidden">right</span>' in gained and "<small>gained</small>" in gained
    told = "1 answer of the new model is right</strong> as far as labels and your answers tell, and 0 of untrained."
    for fact in ("1 gained, 1 lost, 0 moved", told, "Publish it", "Discard it"):
        assert fact in page
    asked = browser.get(f"/api/v1/jobs/{job}/preview").json
    assert asked["queries"][0]["after"][0]["change"] == "gained"
    post(browser, "/models/publish", model="better")
    assert workers_side.active().model == "better"


def test_an_image_and_a_photo_are_saved_as_queries_and_removed(browser, workers_side, red):
    post(browser, "/queries", id=red)
    post(browser, "/queries/photo", image=(io.BytesIO(photo((1, 2, 3))), "mine.jpg"))
    page = browser.get("/models").text
    assert "mine.jpg" in page
    names = {each["name"]: each for each in browser.get("/api/v1/queries").json["queries"]}
    assert names["mine.jpg"]["is_photo"]
    post(browser, "/queries/forget", id=red)
    assert browser.delete(f"/api/v1/queries/{names['mine.jpg']['id']}").status_code == 204
    assert browser.get("/api/v1/queries").json["queries"] == []


def test_what_is_no_photo_is_no_query(browser):
    post(browser, "/queries/photo", image=(io.BytesIO(b"no photo"), "notes.txt"))
    assert "notes.txt is no image" in browser.get("/models").text
    answer = browser.post("/api/v1/photo-queries", data={"image": (io.BytesIO(b"no photo"), "notes.txt")})
    assert answer.status_code == 422


def test_models_are_listed_and_published_by_the_api(browser, workers_side):
    listed = browser.get("/api/v1/models").json["models"]
    assert [each["name"] for each in listed if each["is_active"]] == ["untrained"]
    (better,) = (each for each in listed if each["name"] == "better")
    assert better["metrics"] == {"held_out_map@r": 0.805, "held_out_recall@1": 0.988, "map@r": 0.1}
    assert better["intervals"] == {"held_out_map@r": [0.78, 0.83]}
    asked = browser.post("/api/v1/models/better/publish", json={"preview": True})
    assert (asked.status_code, asked.json["detail"]["phase"]) == (202, "preview")
    assert browser.post("/api/v1/models/none/publish", json={}).status_code == 404
