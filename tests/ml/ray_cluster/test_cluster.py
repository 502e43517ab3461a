"""A cluster of two machines, played by Ray's cluster utilities on this one."""

import pytest
from ray.cluster_utils import Cluster

from ml.ray_cluster.data_parallel import train_distributed
from tests.ml.conftest import quick


@pytest.fixture
def cluster(monkeypatch):
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    yield made
    made.shutdown()


def test_training_joins_the_cluster_that_ray_address_names(cluster, products, tmp_path):
    storage = tmp_path / "storage"
    found = train_distributed(
        quick(head="none"), products, tmp_path / "runs", workers=2, gpus=0, cpus_each=1, storage=f"file://{storage}"
    )
    assert [report.epoch for report in found.history] == [1, 2]
    assert found.bundle.directory.is_dir()
