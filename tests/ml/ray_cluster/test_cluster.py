"""A cluster of two machines, played by Ray's cluster utilities on this one."""

import psutil
import pytest
from ray.cluster_utils import Cluster

from ml.ray_cluster.data_parallel import train_distributed
from tests.ml.conftest import quick


@pytest.fixture
def cluster(monkeypatch):
    made = Cluster()
    try:
        made.add_node(num_cpus=1, include_dashboard=False)
        made.add_node(num_cpus=1)
        monkeypatch.setenv("RAY_ADDRESS", made.address)
        yield made
    finally:
        made.shutdown()
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
