"""The search page without JavaScript."""

import io
import re

import pytest

from tests.web.conftest import keep
from tests.web.forms import post
from tests.web.stand_in import photo


class TestSearchPage:
    def test_an_empty_gallery_says_how_to_fill_it(self, browser):
        page = browser.get("/").text
        assert "Your gallery is empty" in page
        assert "lookalike index" in page

    def test_it_offers_images_to_start_from(self, browser, red, blue):
        page = browser.get("/").text
        assert f"/?id={red}" in page
        assert f"/api/v1/images/{blue}/thumbnail" in page

    def test_an_address_with_an_image_shows_its_results_and_not_itself(self, browser, red, blue):
        page = browser.get(f"/?id={red}&k=6").text
        assert "Nothing else in your gallery matches" in page
        assert re.search(rf'id="own">.*href="/images/{red}"', page)
        assert (f'data-id="{red}"' in page, f'data-id="{blue}"' in page) == (False, True)
        assert "stand-in" in page

    def test_results_link_to_a_search_with_the_same_options(self, browser, workers_side, red):
        another = keep(workers_side, (190, 30, 30), "another.jpg", "red")
        page = browser.get(f"/?id={red}&k=24&label=red&rerank=1").text
        link = re.search(r'class="photo" href="([^"]+)"', page)[1]
        assert link == f"/?id={another}&amp;k=24&amp;label=red&amp;rerank=1"

    def test_matches_stand_above_a_line_with_a_badge_and_the_others_below(self, browser, workers_side, red, blue):
        another = keep(workers_side, (190, 30, 30), "another.jpg", "red")
        page = browser.get(f"/?id={red}").text
        assert "1 match of 2 most similar" in page
        above, below = page.split('id="results"')[1].split('<li class="divide"')[:2]
        assert (f'data-id="{another}"' in above, f'data-id="{blue}"' in below) == (True, True)
        badges = [re.search(r'<span class="badge" (hidden)?', part)[1] for part in (above, below)]
        assert badges == [None, "hidden"]
        assert '<details class="strangers" id="strangers" open>' in page

    def test_where_nothing_matches_the_strangers_are_folded_away(self, browser, red):
        answer = post(browser, "/", image=(io.BytesIO(photo((10, 220, 10))), "mine.jpg"))
        assert "Nothing in your gallery matches" in answer.text
        assert '<details class="strangers" id="strangers">' in answer.text
        assert 'id="own" hidden' in answer.text

    def test_a_photo_that_is_in_the_gallery_is_told_by_its_content(self, browser, red, blue):
        answer = post(browser, "/", image=(io.BytesIO(photo((200, 30, 30))), "mine.jpg"))
        assert re.search(rf'id="own">.*href="/images/{red}"', answer.text)
        assert f'data-id="{red}"' not in answer.text

    def test_a_photo_can_be_searched_with_by_the_plain_form(self, browser, red, blue):
        answer = post(browser, "/", image=(io.BytesIO(photo((10, 10, 220))), "mine.jpg"), k="6")
        assert answer.status_code == 200
        assert "mine.jpg" in answer.text
        assert answer.text.index(f'data-id="{blue}"') < answer.text.index(f'data-id="{red}"')

    @pytest.mark.parametrize("data, reason", [(b"text", "notes.txt is no image"), (b"", "notes.txt is empty")])
    def test_a_file_that_is_no_image_is_refused_with_the_form_still_there(self, browser, data, reason):
        answer = post(browser, "/", image=(io.BytesIO(data), "notes.txt"))
        assert answer.status_code == 422
        assert reason in answer.text
        assert 'name="image"' in answer.text

    def test_the_form_without_a_photo_says_so(self, browser):
        answer = post(browser, "/")
        assert answer.status_code == 422
        assert "No photo was chosen" in answer.text

    def test_the_form_beside_a_result_searches_again_with_the_same_image(self, browser, red):
        answer = post(browser, "/", id=red, k="24")
        assert (answer.status_code, answer.headers["Location"]) == (302, f"/?id={red}&k=24")

    @pytest.mark.parametrize("query", ["id=zz", f"id={'0' * 32}", "id=../x"])
    def test_an_image_that_is_gone_is_404_and_said(self, browser, red, query):
        answer = browser.get(f"/?{query}")
        assert answer.status_code == 404
        assert "there is no image" in answer.text

    @pytest.mark.parametrize("query", ["k=0", "k=-5", "k=99999999", "k=x", "label=" + "y" * 999, "rerank=maybe"])
    def test_options_that_make_no_sense_become_some_that_do(self, browser, red, query):
        assert browser.get(f"/?id={red}&{query}").status_code == 200

    def test_while_the_workers_are_away_it_says_so_at_once(self, browser, workers_side, red):
        workers_side.is_down = True
        start = browser.get("/")
        assert start.status_code == 200
        assert "your photos are safe. The queue does not answer: start the system" in start.text
        assert "data-away" in start.text, "it goes on by itself"
        answer = browser.get(f"/?id={red}")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
