"""What holds of the embedded engine alone: one owner, kill -9, damage, and graphs that are built meanwhile."""

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.processes import wait_for
from tests.workers.store.samples import DIM, ids, points, unit_vectors
from workers.store import Payload, StoreBusy, StoreFailed, codes, edge, shard
from workers.store.edge import EdgeStore
from workers.store.shard import Shard


class TestEdge:
    def test_everything_is_there_after_it_was_opened_again(self, tmp_path: Path) -> None:
        store = EdgeStore(tmp_path)
        store.ensure("photos", DIM)
        store.upsert("photos", points(20))
        store.close()
        again = EdgeStore(tmp_path)
        assert again.count("photos") == 20
        assert again.labels("photos") == {"Lime": 7, "Red/Apple": 7}
        again.close()

    def test_a_write_that_failed_half_way_leaves_no_old_vector(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = EdgeStore(tmp_path)
        store.ensure("photos", DIM)
        (point,) = points(1)
        store.upsert("photos", [point])
        store.query("photos", point.vector, 1, with_vectors=True)
        before = store.written("photos", None).until

        def full(_folder: Path) -> None:
            raise OSError("no space left on device")

        monkeypatch.setattr(shard, "_sync_tree", full)
        (_, other) = unit_vectors(2)
        with pytest.raises(StoreFailed, match="no space left"):
            store.upsert("photos", [replace(point, vector=other)])
        (hit,) = store.query("photos", other, 1, with_vectors=True)
        assert hit.vector is not None
        assert hit.vector @ other == pytest.approx(hit.similarity, abs=1e-6)
        assert store.written("photos", before).points == {point.id}
        monkeypatch.undo()
        store.close()

    @pytest.mark.parametrize("longest_log", [20_000, 25], ids=["from the log", "flushed in between"])
    def test_acknowledged_points_survive_kill_9(self, tmp_path: Path, longest_log: int) -> None:
        program = f"""
import os, signal
from pathlib import Path
from tests.workers.store.samples import *
from workers.store.edge import EdgeStore
from workers.store import shard
shard._LONGEST_LOG = {longest_log}
store = EdgeStore(Path({str(tmp_path)!r}))
store.ensure("photos", DIM)
for point in points(60):
    store.upsert("photos", [point])
os.kill(os.getpid(), signal.SIGKILL)
"""
        subprocess.run([sys.executable, "-c", program], check=False, cwd=Path(__file__).parents[3])
        store = EdgeStore(tmp_path)
        kept = store.fetch("photos", ids(60), with_vectors=True)
        assert {point.id: point.payload for point in points(60)} == {id: kept[id].payload for id in kept}
        np.testing.assert_allclose(np.stack([kept[id].vector for id in ids(60)]), unit_vectors(60), atol=1e-6)
        store.close()

    @pytest.mark.parametrize(
        "name",
        [
            "current",
            "collection.json",
            "0/edge_config.json",
            "0/wal/first-index",
            "0/segments/*/segment.json",
            "0/segments/*/vector_storage/vectors/status.dat",
            "0/segments/*/vector_storage/vectors/chunk_0.mmap",
            "0/segments/*/payload_storage/config.json",
        ],
    )
    def test_a_damaged_collection_is_set_aside_told_and_begun_anew(self, tmp_path: Path, name: str) -> None:
        store = EdgeStore(tmp_path)
        store.ensure("photos", DIM)
        store.upsert("photos", points(20))
        store.ensure("others", DIM)
        store.close()
        for file in (tmp_path / "photos").glob(name):
            os.truncate(file, 0)
        told: dict[str, str] = {}
        log: Any = SimpleNamespace(found=lambda damaged: told.update({damaged.key: damaged.message}))
        again = EdgeStore(tmp_path, log)
        again.ensure("photos", DIM)
        assert again.count("photos") == 0
        assert list(told) == ["collections/photos"]
        assert "being made anew" in told["collections/photos"]
        again.upsert("photos", points(20))
        assert again.collections() == ["others", "photos"]
        assert (tmp_path / ".damaged-photos").is_dir()
        again.drop("photos")
        assert again.collections() == ["others"]
        assert not (tmp_path / ".damaged-photos").exists()
        again.close()

    def test_a_store_that_is_closed_opens_nothing_again(self, tmp_path: Path) -> None:
        """Another process may own the folder by then."""
        store = EdgeStore(tmp_path)
        store.ensure("photos", DIM)
        store.close()
        with pytest.raises(StoreFailed, match="the embedded store is closed") as failure:
            store.count("photos")
        assert failure.value.passes

    def test_what_the_system_refuses_is_no_damage(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = EdgeStore(tmp_path)
        store.ensure("photos", DIM)
        store.upsert("photos", points(20))
        store.close()
        refusals = [
            OSError(24, "Too many open files"),
            Exception("Service runtime error: IO Error: No space left on device (os error 28)"),
            Exception("Service runtime error: failed to open WAL: Can't init WAL: WouldBlock"),
        ]
        for refusal in refusals:

            def load(path: Path, refusal: Exception = refusal) -> Shard:
                raise refusal

            with monkeypatch.context() as patch:
                patch.setattr(Shard, "_load", load)
                store = EdgeStore(tmp_path)
                with pytest.raises(StoreFailed, match="cannot be opened"):
                    store.ensure("photos", DIM)
                store.close()
        store = EdgeStore(tmp_path)
        assert store.count("photos") == 20
        store.close()

    def test_a_second_owner_is_told_who_owns_it(self, tmp_path: Path) -> None:
        store = EdgeStore(tmp_path)
        with pytest.raises(StoreBusy, match=f"process {os.getpid()}"):
            EdgeStore(tmp_path)
        store.close()
        EdgeStore(tmp_path).close()

    def test_changes_made_while_a_copy_is_optimised_are_kept(self, tmp_path: Path) -> None:
        store = EdgeStore(tmp_path)
        store.ensure("photos", DIM)
        written = points(40)
        store.upsert("photos", written[:30])
        shard = store._shard("photos")
        shard.copy_for_optimising()
        store.upsert("photos", written[30:])
        store.delete("photos", [written[0].id])
        store.set_payloads("photos", {written[1].id: Payload("moved.jpg", "moved")})
        shard.exchange()
        assert store.count("photos") == 39
        assert store.fetch("photos", [written[0].id]) == {}
        assert store.fetch("photos", [written[1].id])[written[1].id].payload.label == "moved"
        store.close()
        again = EdgeStore(tmp_path)
        assert again.count("photos") == 39
        again.close()

    def test_a_graph_is_made_once_of_what_nobody_searches_yet(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A collection that is to replace another grows without one; whoever is about to switch to it asks for it."""
        built: list[int] = []

        def optimised(folder: Path, *_: object, until: threading.Event) -> bool:
            built.append(until.is_set())
            return False

        monkeypatch.setattr(codes, "LARGE_BYTES", 4 * DIM)
        monkeypatch.setattr(edge, "_LOOKED_S", 0.05)
        monkeypatch.setattr(edge, "optimise", optimised)
        store = EdgeStore(tmp_path)
        store.ensure("new", DIM)
        for point in points(20):
            store.upsert("new", [point])
            time.sleep(0.02)
        assert built == []
        assert not store.make_ready("new")
        wait_for(lambda: built)
        wait_for(lambda: store.make_ready("new"))  # it failed, and holds nobody up
        store.close()

    def test_what_is_searched_while_it_grows_gets_a_graph_meanwhile(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        built = threading.Event()
        monkeypatch.setattr(codes, "LARGE_BYTES", 4 * DIM)
        monkeypatch.setattr(edge, "_LOOKED_S", 0.05)
        monkeypatch.setattr(edge, "optimise", lambda *_, until: built.set())
        store = EdgeStore(tmp_path)
        store.ensure("photos", DIM)
        written = points(200)
        for point in written:
            store.upsert("photos", [point])
            store.query("photos", point.vector, 1)
            if built.wait(0.02):
                break
        assert built.is_set()
        store.close()

    def test_searches_go_on_while_the_shard_is_exchanged(self, tmp_path: Path) -> None:
        store = EdgeStore(tmp_path)
        store.ensure("photos", DIM)
        store.upsert("photos", points(200))
        stop, failures, answers = threading.Event(), list[BaseException](), list[int]()

        def search() -> None:
            while not stop.is_set():
                try:
                    answers.append(len(store.query("photos", unit_vectors(1)[0], 5)))
                except BaseException as error:
                    failures.append(error)

        threads = [threading.Thread(target=search) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(2):
            shard = store._shard("photos")
            shard.copy_for_optimising()
            shard.exchange()
        stop.set()
        for thread in threads:
            thread.join()
        assert not failures
        assert set(answers) == {5}
        store.close()
