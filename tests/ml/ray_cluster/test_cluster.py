"""A cluster of two machines, played by Ray's cluster utilities on this one."""

from collections.abc import Iterator

import psutil
import pytest
from ray.cluster_utils import Cluster

from ml.ray_cluster import slow_start
from ml.ray_cluster.data_parallel import train_distributed
from ml.ray_cluster.session import _heeding_environment
from tests.ml.conftest import quick

# On a busy machine Ray takes minutes to start and a second try, and each of its processes seconds to import torch.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """It is given the time and the tries to start that a Ray of our own has."""
    with _heeding_environment(slow_start.limits()):
        for tries in range(1, slow_start.TRIES + 1):
            made = Cluster()
            try:
                made.add_node(num_cpus=1, include_dashboard=False)
                made.add_node(num_cpus=1)
                break
            except Exception as error:
                _end(made)
                if tries == slow_start.TRIES or not slow_start.is_out_of_time(error):
                    raise
        monkeypatch.setenv("RAY_ADDRESS", made.address)
        try:
            yield made
        finally:
            _end(made)


def _end(cluster: Cluster) -> None:
    cluster.shutdown()
    # A node that did not start in time is none of the cluster's, and would keep the next Ray from starting.
    for process in psutil.Process().children(recursive=True):
        if process.name() in ("gcs_server", "raylet"):
            process.kill()


def test_training_joins_the_cluster_that_ray_address_names(cluster, products, tmp_path):
    storage = tmp_path / "storage"
    found = train_distributed(
        quick(head="none"), products, tmp_path / "runs", workers=2, gpus=0, cpus_each=1, storage=f"file://{storage}"
    )
    assert [report.epoch for report in found.history] == [1, 2]
    assert found.bundle.directory.is_dir()
