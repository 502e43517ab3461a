"""A gallery whose photos taught its model is left as labels taught it; others are not."""

from typing import Any

import pytest

from ml.data.seen_photos import packed
from ml.tuning.gallery_head import CONFIRMED
from ml.tuning.taught import TAUGHT, TAUGHT_BEFORE, why_not

PHOTOS = [f"{number:064x}"[::-1] for number in range(1, 101)]


def lineage(taught: int, after: float = 0.9, before: float = 0.96) -> dict[str, Any]:
    """Of a model that the first so many of the photos taught."""
    return {"data": {"photos": packed(PHOTOS[:taught])}, CONFIRMED: {TAUGHT_BEFORE: before, TAUGHT: after}}


@pytest.mark.parametrize("taught, told", [(0, None), (5, None), (20, "20 %"), (100, "100 %")])
def test_what_the_gallery_loses_goes_with_the_share_of_its_photos_that_taught_the_model(
    taught: int, told: str | None
) -> None:
    found = why_not(lineage(taught), PHOTOS)
    if told is None:
        assert found is None
    else:
        assert found is not None and found.startswith(told) and "mAP@R 90.0 instead of 96.0" in found


def test_ids_which_are_beginnings_of_the_hashes_do_as_well() -> None:
    assert why_not(lineage(50), [photo[:32] for photo in PHOTOS]) == why_not(lineage(50), PHOTOS)


@pytest.mark.parametrize("said", [{}, {"data": {}}, lineage(100, after=0.96), lineage(100, after=0.97)])
def test_nothing_speaks_against_it_where_nothing_is_lost_or_known(said: dict[str, Any]) -> None:
    assert why_not(said, PHOTOS) is None
    assert why_not(lineage(100), []) is None
