"""What was written since a moment is told whole, or not at all."""

from workers.store import Written
from workers.store.written import _LATEST, WriteLog


def test_it_tells_what_was_written_since() -> None:
    log = WriteLog()
    assert log.since("a", None) == Written(0, None), "of what was there before nothing is known"
    log.note("a", ["1", "2"])
    log.note("a", ["2", "3"], of_points=False)
    log.note("b", ["9"])
    assert log.since("a", 0) == Written(2, {"1", "2"}, {"3"})
    assert log.since("a", 1) == Written(2, frozenset(), {"2", "3"})
    assert log.since("a", 2) == Written(2, frozenset(), frozenset())
    assert (log.count("a"), log.count_of_points("a")) == (2, 1)


def test_what_is_too_long_ago_or_was_dropped_may_all_be_different() -> None:
    log = WriteLog()
    for number in range(_LATEST + 2):
        log.note("a", [str(number)])
    assert log.since("a", 1).points is None
    assert log.since("a", 2).points == {str(number) for number in range(2, _LATEST + 2)}
    log.note("a", None)
    assert log.since("a", _LATEST + 1).points is None
