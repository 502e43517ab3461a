"""Training on many processes: the same figures, and no process that cannot be replaced."""

import ipaddress
import os
import signal
from collections.abc import Iterator

import psutil
import pytest
import ray

from ml.errors import LookalikeError
from ml.ray_cluster.data_parallel import train_distributed
from ml.ray_cluster.session import session
from ml.training.checkpoints import TrainingFailed
from ml.training.runs import Run
from ml.training.train import train
from tests.ml.conftest import quick

# On a busy machine Ray takes minutes to start and a second try, and each of its processes seconds to import torch.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module", autouse=True)
def ray_here() -> Iterator[None]:
    """One Ray for all of these tests: starting it takes longer than they do."""
    with session(cpus=4):
        yield


def test_two_processes_find_what_one_finds_and_are_not_disturbed(products, tmp_path):
    config = quick(head="none")
    alone = train(config, products, tmp_path / "alone", device="cpu")
    epochs, started, listening, refusals = [], [], set(), []

    def on_epoch(report):
        epochs.append(report)
        try:
            train(config, products, tmp_path / "together", device="cpu")
        except LookalikeError as error:
            refusals.append(error.message)
        for pid in (*started[-1], os.getpid()):
            sockets = psutil.Process(pid).net_connections(kind="inet")
            listening.update(each.laddr.ip for each in sockets if each.status == psutil.CONN_LISTEN)

    together = train_distributed(
        config,
        products,
        tmp_path / "together",
        workers=2,
        gpus=0,
        cpus_each=1,
        on_epoch=on_epoch,
        on_workers=started.append,
    )
    assert len(refusals) == 2 and all("under way already" in refusal for refusal in refusals)
    assert listening, "the processes find each other somewhere"
    assert all(ipaddress.ip_address(each.removeprefix("::ffff:")).is_loopback for each in listening), listening
    assert together.metrics["held_out_map@r"] == pytest.approx(alone.metrics["held_out_map@r"], abs=0.01)
    assert [r.loss for r in together.history] == pytest.approx([r.loss for r in alone.history], rel=0.05)
    assert [report.epoch for report in epochs] == [1, 2]
    assert together.bundle.directory == Run.of(config, products, tmp_path / "together").directory / "model"


def test_a_killed_process_is_replaced_and_training_goes_on_from_the_last_checkpoint(products, tmp_path):
    started, epochs = [], []

    def on_epoch(report):
        epochs.append(report.epoch)
        # By then an early checkpoint lies in storage, however busy the machine is.
        if report.epoch == 7 and epochs.count(7) == 1:
            os.kill(started[-1][-1], signal.SIGKILL)

    found = train_distributed(
        quick(head="none", epochs=12),
        products,
        tmp_path,
        workers=2,
        gpus=0,
        cpus_each=1,
        on_epoch=on_epoch,
        on_workers=started.append,
    )
    assert [report.epoch for report in found.history] == list(range(1, 13))
    assert len({pid for pids in started for pid in pids}) >= 3, "no process was replaced"
    assert epochs.count(1) == 1, "training began anew"
    assert not list((tmp_path / ".ray").glob("*")), "checkpoints of a finished run are kept"


class Once:
    """Says yes the first time that it is asked."""

    def __init__(self) -> None:
        self._asked = 0

    def is_first(self) -> bool:
        self._asked += 1
        return self._asked == 1


def test_a_process_whose_group_was_ended_for_another_one_does_not_end_the_run(products, tmp_path):
    once = ray.remote(Once).options(name="once", num_cpus=0).remote()
    found = train_distributed(
        quick(head="none", loss="tests.ml.training.own_code:LossOfItsGroup"),
        products,
        tmp_path,
        workers=2,
        gpus=0,
        cpus_each=1,
    )
    assert [report.epoch for report in found.history] == [1, 2]
    assert not ray.get(once.is_first.remote()), "no group was ended"


def test_a_run_that_cannot_work_says_why_and_is_not_tried_again(products, tmp_path):
    with pytest.raises(TrainingFailed, match=r"not finite|not a number"):
        train_distributed(quick(head="none", lr=1e30), products, tmp_path, workers=2, gpus=0, cpus_each=1)
