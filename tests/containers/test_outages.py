"""Each part is killed, paused and cut off in the middle of indexing and searching; nothing acknowledged is lost."""

import json
import time
from pathlib import Path

import pytest

from tests.containers.composition import Composition, Load
from tests.processes import wait_for

RECOVERY_S = 30.0
STORE = "the vector store does not answer"


@pytest.mark.timeout(600)
def test_any_part_may_be_killed_paused_or_cut_off(composition: Composition, photos: Path) -> None:
    engine = composition.engine
    photo = next(photos.rglob("*.jpg"))
    composition.add(photo)
    indexing = composition.index(photos, "--label-from", "parent")
    recoveries: dict[str, float] = {}
    with Load(composition, photo.read_bytes(), composition.proxy, rate=3) as load:
        for service in ("worker", "redis", "qdrant", "web"):
            container = composition.containers(service)[0]
            engine("kill", container)
            at = time.monotonic()
            engine("start", container)
            recoveries[f"{service} killed"] = load.recovered_s(at, RECOVERY_S + 5)
        for service in ("redis", "qdrant"):
            container = composition.containers(service)[0]
            engine("pause", container)
            asked_at = time.monotonic()
            wait_for(lambda asked_at=asked_at: any(a.sent_at > asked_at for a in load.failed()), timeout_s=60)
            engine("unpause", container)
            recoveries[f"{service} paused"] = load.recovered_s(time.monotonic(), RECOVERY_S + 5)
        cut = composition.containers("worker")[0]
        engine("network", "disconnect", "lookalike-test_back", cut)
        recoveries["worker cut off"] = load.recovered_s(time.monotonic(), RECOVERY_S + 5)
        engine("network", "connect", "lookalike-test_back", cut)
        output, errors = indexing.communicate(timeout=300)
    print("seconds until searches were back", {name: round(each, 1) for name, each in recoveries.items()})
    assert indexing.returncode == 0, errors
    report = json.loads(output)
    assert report["failed"] == 0
    # The photo that was there gets the path of its file. A Redis that is killed forgets the counts of its last second.
    counted = sum(report.get(name, 0) for name in ("added", "unchanged", "updated"))
    assert counted == sum(1 for _ in photos.rglob("*.jpg"))
    assert all(seconds < RECOVERY_S for seconds in recoveries.values()), recoveries
    assert 500 not in {answer.status for answer in load.answers}
    verified = composition.command("verify")
    assert {verified[name] for name in ("missing", "extra", "different")} == {0}
    composition.wait_until_ready()
    wait_for(lambda: not [job for job in composition.command("jobs")["jobs"] if job["state"] == "running"], 60)


@pytest.mark.timeout(300)
def test_a_vector_store_that_is_paused_for_a_minute_harms_no_worker(composition: Composition, photos: Path) -> None:
    composition.wait_until_ready()
    (container,) = composition.containers("qdrant")
    workers = composition.containers("worker")
    restarts = [composition.engine("inspect", "--format", "{{.RestartCount}}", worker) for worker in workers]
    composition.add(next(photos.rglob("*.jpg")))
    photo = next(photos.rglob("*.jpg")).read_bytes()
    with Load(composition, photo, composition.portal, rate=2) as load:
        composition.engine("pause", container)
        paused_at = time.monotonic()
        wait_for(lambda: any(STORE in answer.detail for answer in load.answers), timeout_s=45)
        wait_for(lambda: any(STORE in problem for problem in composition.health()["problems"]), timeout_s=30)
        wait_for(lambda: time.monotonic() - paused_at > 60, timeout_s=90)
        are_healthy = [composition.engine.is_healthy(worker) for worker in workers]
        health = composition.health()
        composition.engine("unpause", container)
        back_s = load.recovered_s(time.monotonic(), 30)
    told = {(answer.status, answer.detail) for answer in load.failed()}
    print(f"searches were back {back_s:.1f} s after the vector store; meanwhile {told}")
    assert are_healthy == [True, True]
    assert [composition.engine("inspect", "--format", "{{.RestartCount}}", worker) for worker in workers] == restarts
    assert len(health["workers"]) == 2
    assert told == {(503, STORE)}
    assert back_s < 5


@pytest.mark.timeout(300)
@pytest.mark.parametrize("service", ["qdrant", "redis"])
def test_workers_that_start_while_it_is_away_stay_and_begin_when_it_is_back(
    composition: Composition, service: str
) -> None:
    composition.compose("stop", service, "worker")
    for worker in composition.containers("worker", "--all"):
        composition.engine("start", worker)  # compose would start what it depends on
    wait_for(lambda: composition.compose("logs", "--since", "20s", "worker").count("waiting: ") >= 2, timeout_s=60)
    if service == "qdrant":
        wait_for(lambda: any(STORE in problem for problem in composition.health().get("problems", [])), 30)
    for worker in composition.containers("worker"):
        assert composition.engine.state(worker)["Running"]
    composition.compose("start", service)
    wait_for(lambda: composition.compose("logs", "--since", "60s", "worker").count("going on: ") >= 2, timeout_s=30)
    composition.wait_until_ready()
