"""Searches that wait together are answered together, and what is wrong with one is told to that one."""

import dataclasses
import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import redis
from celery import Celery
from PIL import Image

from ml.decoders import Prepared, Unfinished
from ml.decoders.work import carry_out
from ml.errors import LookalikeError
from ml.images import Limits, UnreadableImage
from tests.workers.tasks.test_reconcile import Brightness
from workers.errors import NotFound
from workers.messages import SearchResult, Skipped
from workers.process.batching import Batcher
from workers.process.serving import ServingModel
from workers.process.slow_searches import Later, SlowSearches
from workers.queue import replies
from workers.queue.questions import Question, Questions
from workers.store import Payload, Point, StoreFailed
from workers.store.edge import EdgeStore
from workers.tasks import answer as answer_module
from workers.tasks import search as search_module
from workers.tasks.answer import Answering
from workers.tasks.context import Context
from workers.tasks.search import Example, Outcome, Request, search

BRIGHTNESSES = (10, 60, 120, 180, 240)


def photo(value: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (16, 16), (value, value, value)).save(out, "PNG")
    return out.getvalue()


def asked(image: bytes | None = None, id: str | None = None, *, k: int = 1, **changes: Any) -> Request:
    return Request([Example(image, id)], k, **changes)


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Any]:
    store = EdgeStore(tmp_path / "store")
    store.ensure("photos", 2)
    model: Any = Brightness()
    vectors = model.embed_arrays(np.stack([np.full((8, 8, 3), value, np.uint8) for value in BRIGHTNESSES]))
    points = [
        Point(f"{value:032x}", vector, Payload(f"{value}.png", "dark" if value < 100 else "bright"))
        for value, vector in zip(BRIGHTNESSES, vectors, strict=True)
    ]
    store.upsert("photos", points)
    live = ServingModel("model", "photos", model)  # type: ignore[arg-type]
    batcher, slow_searches = Batcher(), SlowSearches()
    with ThreadPoolExecutor(8) as query_decoders:
        yield SimpleNamespace(
            active=lambda: live,
            batcher=batcher,
            decoders=SimpleNamespace(decode_quickly=carry_out),  # in no process that a busy machine keeps waiting
            limits=Limits(),
            query_decoders=query_decoders,
            settings=SimpleNamespace(concurrency=16),
            slow_searches=slow_searches,
            gallery=SimpleNamespace(skipped=lambda id: Skipped(id, "", "it is gone")),
            store=store,
        )
    slow_searches.close()
    batcher.close()
    store.close()


def outcomes(serving: Any, *requests: Request) -> list[Outcome]:
    found: dict[int, Outcome] = {}
    for some in search(serving, requests):
        assert not found.keys() & some.keys(), "one outcome each"
        found |= some
    return [found[position] for position in range(len(requests))]


def first(outcome: Outcome) -> str:
    assert isinstance(outcome, SearchResult), outcome
    return outcome.results[0].path


def test_each_gets_its_own_answer(serving: Any) -> None:
    requests = [asked(photo(value + 1)) for value in BRIGHTNESSES]
    requests += [asked(id=f"{value:032x}") for value in BRIGHTNESSES]
    requests += [asked(photo(200), label="dark"), asked(photo(100), k=3, rerank=True)]
    found = outcomes(serving, *requests)
    assert [first(each) for each in found[:10]] == 2 * [f"{value}.png" for value in BRIGHTNESSES]
    assert first(found[10]) == "60.png"
    assert isinstance(found[11], SearchResult)
    assert len(found[11].results) == 3


def test_they_share_a_forward_pass_and_a_query_of_the_store(serving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "_TOGETHER_S", 60.0)  # however slow the machine is
    embedded, queried = [], []
    embed, query_batch = serving.batcher.embed, serving.store.query_batch
    serving.batcher.embed = lambda model, pixels, **how: (embedded.append(len(pixels)), embed(model, pixels, **how))[1]
    serving.store.query_batch = lambda name, asked: (queried.append(len(asked)), query_batch(name, asked))[1]
    outcomes(serving, *[asked(photo(value)) for value in BRIGHTNESSES], asked(id=f"{10:032x}"))
    assert (embedded, queried) == ([5], [6])


def test_what_is_wrong_with_one_is_its_own(serving: Any) -> None:
    good = asked(photo(180))
    found = outcomes(serving, good, asked(b"no photo"), asked(id=32 * "f"), asked(photo(60), label=b"no text"), good)  # type: ignore[arg-type]
    assert [first(found[0]), first(found[4])] == 2 * ["180.png"]
    assert isinstance(found[1], UnreadableImage)
    assert isinstance(found[2], NotFound)
    assert isinstance(found[3], LookalikeError)
    assert found[3].message == "the worker failed to answer"


def test_a_store_that_is_away_is_told_to_all_and_asked_once(serving: Any) -> None:
    tries = []

    def query_batch(name: str, asked: Any) -> Any:
        tries.append(len(asked))
        raise StoreFailed("the vector store does not answer", passes=True)

    serving.store.query_batch = query_batch
    found = outcomes(serving, asked(id=f"{10:032x}"), asked(id=f"{60:032x}"))
    assert all(isinstance(each, StoreFailed) and each.passes for each in found)
    assert tries == [2]


def test_others_do_not_wait_for_a_photo_that_takes_long(serving: Any) -> None:
    others_answered = threading.Event()
    decode_quickly = serving.decoders.decode_quickly

    def decode(data: bytes, work: Any) -> Prepared | Unfinished:
        if data == photo(240):
            assert others_answered.wait(60)
        answer: Prepared | Unfinished = decode_quickly(data, work)
        return answer

    serving.decoders = SimpleNamespace(decode_quickly=decode)
    answered: dict[int, Outcome] = {}
    for some in search(serving, [asked(photo(240)), asked(photo(60)), asked(id=f"{10:032x}")]):
        answered |= some
        if len(answered) == 2:
            assert 0 not in answered
            others_answered.set()
    assert first(answered[0]) == "240.png"


def test_one_that_takes_very_long_is_finished_elsewhere(serving: Any) -> None:
    pixels = np.full((8, 8, 3), 120, np.uint8)
    serving.decoders = SimpleNamespace(decode_quickly=lambda *_: Unfinished(lambda: Prepared(pixels)))
    (later,) = outcomes(serving, asked(photo(1)))
    assert isinstance(later, Later)
    assert first(later.finish()) == "120.png"


@pytest.fixture
def nudges(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What workers send, whose turns are short."""
    monkeypatch.setattr(answer_module, "_TURN_S", 3.0)
    monkeypatch.setattr(answer_module, "_LISTENS_S", 0.5)
    sent: list[str] = []
    monkeypatch.setattr(Celery, "send_task", lambda _app, name, **_: sent.append(name))
    return sent


@pytest.fixture
def answering(serving: Any, queue: redis.Redis, nudges: list[str]) -> Answering:
    heartbeat: Any = SimpleNamespace(worker="w")
    jobs: Any = None
    return Answering(Context(Celery(set_as_current=False), queue, jobs, serving, heartbeat))


def ask(queue: redis.Redis, request: Request, timeout_s: float = 60.0) -> str:
    address = replies.new_address()
    Questions(queue).ask(Question(dataclasses.asdict(request), address, timeout_s))
    return address


def test_one_nudge_answers_all_who_wait_and_those_who_come_meanwhile(answering: Answering, queue: redis.Redis) -> None:
    addresses = [ask(queue, asked(photo(value), k=2)) for value in BRIGHTNESSES]
    worker = threading.Thread(target=answering.attend)
    worker.start()
    told = [replies.wait(queue, address, 60) for address in addresses]
    assert [each and each["result"]["results"][0]["path"] for each in told] == [f"{v}.png" for v in BRIGHTNESSES]
    assert {"wait", "decode", "embed", "search"} == set(told[0]["result"]["timings_ms"]) if told[0] else False
    late = replies.wait(queue, ask(queue, asked(b"no photo")), 60)
    assert late is not None
    assert late["error"]["kind"] == "UnreadableImage"
    worker.join(60)
    assert not worker.is_alive(), "it ends, for a broker delivers what takes too long once more"


def test_who_is_asked_has_others_listen_next_and_one_of_two_is_enough(
    answering: Answering, queue: redis.Redis, nudges: list[str]
) -> None:
    answering.attend()
    assert nudges == [], "nobody has asked"
    address = ask(queue, asked(id=f"{10:032x}"))
    workers = [threading.Thread(target=answering.attend) for _ in range(2)]
    for worker in workers:
        worker.start()
    assert replies.wait(queue, address, 60)
    for worker in workers:
        worker.join(60)
    assert nudges == ["answer_searches"]


def test_one_that_takes_very_long_is_replied_to_as_well(answering: Answering, serving: Any, queue: redis.Redis) -> None:
    pixels = np.full((8, 8, 3), 120, np.uint8)
    serving.decoders = SimpleNamespace(decode_quickly=lambda *_: Unfinished(lambda: Prepared(pixels)))
    address = ask(queue, asked(photo(1)))
    answering.answer(Questions(queue).take(1, 0.01))
    told = replies.wait(queue, address, 60)
    assert told is not None
    assert told["result"]["results"][0]["path"] == "120.png"


def test_nobody_is_answered_who_has_stopped_waiting(answering: Answering, queue: redis.Redis) -> None:
    address = ask(queue, asked(photo(60)), timeout_s=5.0)
    ((question, _),) = Questions(queue).take(1, 0.01)
    answering.answer([(question, 5.1)])
    assert not queue.exists(address)
