"""What a service said last is known, and its log does not grow for ever."""

from pathlib import Path

from deploy.local.service_log import ServiceLog


def test_the_last_words_are_those_of_the_last_start(tmp_path: Path) -> None:
    log = ServiceLog(tmp_path / "service.log")
    for words in (b"error: an old one\n", b"starting\nerror: no space is left\n\nhint: free some\n"):
        with log.opened() as output:
            output.write(words)
    assert log.last_words() == (": no space is left", "free some")
    log.opened().close()
    assert log.last_words() == ("", "")
    assert log.path.stat().st_mode & 0o077 == 0


def test_an_overgrown_log_is_moved_aside_in_place(tmp_path: Path) -> None:
    path = tmp_path / "service.log"
    with path.open("ab", buffering=0) as writer:
        writer.write(b"old" * 10)
        ServiceLog(path).rotate(limit=20)
        writer.write(b"new")
    assert path.read_bytes() == b"new"
    assert (tmp_path / "service.log.1").read_bytes() == b"old" * 10


def test_a_log_that_somebody_deleted_harms_nothing(tmp_path: Path) -> None:
    ServiceLog(tmp_path / "service.log").rotate()
