"""Turns of a lane: first come, first served."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ml.decoders.decoder import Nursery
from ml.decoders.pool import _Lane, _NoTurn


@pytest.fixture
def lane() -> _Lane:
    return _Lane(Nursery(), 1, 0)  # which starts nothing before somebody takes a child


def wait_for_others(lane: _Lane, count: int) -> None:
    while lane.waiting < count:
        threading.Event().wait(0.001)


def test_who_frees_a_turn_gets_the_next_one_after_those_who_wait(lane):
    order = []

    def take(name: str) -> None:
        with lane.turn():
            order.append(name)

    for _ in range(20):
        with ThreadPoolExecutor(3) as threads:
            with lane.turn():
                for number in range(3):
                    threads.submit(take, str(number))
                    wait_for_others(lane, number + 1)
            take("again")
    assert order == ["0", "1", "2", "again"] * 20


def test_who_goes_away_holds_up_nobody(lane):
    def take(patience_s: float) -> None:
        with lane.turn(patience_s):
            pass

    with ThreadPoolExecutor(2) as threads:
        with lane.turn():
            impatient = threads.submit(take, 0.2)
            wait_for_others(lane, 1)
            patient = threads.submit(take, 60)
            with pytest.raises(_NoTurn):
                impatient.result()
        patient.result()
    assert not lane.waiting


def test_all_who_wait_have_a_turn_as_soon_as_there_are_enough():
    lane = _Lane(Nursery(), 2, 0)
    together = threading.Barrier(2)

    def meet() -> None:
        with lane.turn():
            together.wait(60)

    with ThreadPoolExecutor(6) as threads:
        for each in [threads.submit(meet) for _ in range(6)]:
            each.result()
