"""Whoever changes a record in a bucket has it for itself, whichever process and machine it is on."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis

from ml.storage import Storage, open_storage
from tests.processes import wait_for
from tests.workers.gallery.samples import photo
from workers.errors import Unavailable
from workers.gallery import Gallery
from workers.queue.locks import SharedLocks, taken


def test_one_holder_at_a_time(queue: redis.Redis) -> None:
    counted: list[int] = []

    def count(locks: SharedLocks) -> None:
        for _ in range(10):
            with locks.hold("a"):
                counted.append(len(counted))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(count, [SharedLocks(queue) for _ in range(4)]))
    assert counted == list(range(40))
    assert queue.keys("lookalike:lock:*") == []


def test_a_lock_that_was_taken_is_kept_for_as_long_as_it_takes_and_then_free(queue: redis.Redis) -> None:
    with taken(queue, "lookalike:step", kept_s=0.4) as is_ours:
        queue.persist("lookalike:step")
        wait_for(lambda: queue.pttl("lookalike:step") > 0)  # it was given its time once more
        assert is_ours()
        with taken(queue, "lookalike:step") as is_theirs:
            assert not is_theirs()
        assert is_ours()
        queue.set("lookalike:step", "another")
        assert not is_ours()
    assert queue.get("lookalike:step") == "another"
    queue.delete("lookalike:step")
    with taken(queue, "lookalike:step") as is_ours:
        assert is_ours()
    assert queue.get("lookalike:step") is None


def test_a_holder_that_died_does_not_hold_for_ever(queue: redis.Redis) -> None:
    holder = SharedLocks(queue).hold("a")
    holder.__enter__()
    assert 0 < queue.ttl("lookalike:lock:a") <= 60
    with (
        pytest.raises(Unavailable, match="is being changed by another process"),
        SharedLocks(queue, 60, 0.05).hold("a"),
    ):
        pass
    holder.__exit__(None, None, None)


def test_who_was_slower_than_the_lock_is_told_to_do_it_again(queue: redis.Redis) -> None:
    with pytest.raises(Unavailable, match="took too long"), SharedLocks(queue).hold("a"):
        queue.delete("lookalike:lock:a")  # as it expires


def test_a_queue_that_is_away_is_told_and_waited_for(tmp_path: Path) -> None:
    away = redis.Redis(unix_socket_path=str(tmp_path / "no.sock"))
    with pytest.raises(Unavailable) as caught, SharedLocks(away).hold("a"):
        pass
    assert caught.value.passes


class SlowReader:
    """Storage whose reader of metadata has time for somebody else to come in between."""

    def __init__(self, storage: Storage, between: Any) -> None:
        self._storage, self._between = storage, between

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get(self, key: str) -> bytes:
        content = self._storage.get(key)
        if key.startswith("metadata/"):
            self._between()
        return content


def test_two_processes_that_change_one_image_in_a_bucket_lose_neither_change(
    queue: redis.Redis, tmp_path: Path
) -> None:
    """Each has locks of its own for its threads; what they share is the bucket and the queue."""
    url = f"memory://{tmp_path.name}-locks"
    portal = Gallery(open_storage(url), hold=SharedLocks(queue).hold)
    id = portal.add(photo(), path="/photos/limes/1.png", label="limes").id
    labelling = threading.Thread(target=portal.set_label, args=(id, "by hand"))

    def label() -> None:
        if labelling.ident is None:
            labelling.start()
            labelling.join(0.3)  # it has to wait; without a lock it would be done by now

    slow: Any = SlowReader(open_storage(url), label)
    command = Gallery(slow, hold=SharedLocks(queue).hold)
    command.add(photo(), path="/photos/limes/1.png", label="lemons")
    labelling.join()
    assert portal.image(id).label == "by hand"
