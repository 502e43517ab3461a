"""Nothing leaves the machine, OpenVINO's telemetry is not even imported; nothing but the network itself is read."""

import os
import subprocess
import sys

import numpy as np
import onnx
import pytest

from ml.errors import BadBundle

openvino = pytest.importorskip("openvino")
from ml.model import openvino_backend  # noqa: E402


def test_importing_openvino_leaves_and_sends_nothing(tmp_path):
    """Outside of CI, where its telemetry is on; it would leave a client's id in the home folder."""
    environment = {name: value for name, value in os.environ.items() if "CI" not in name and "BUILD" not in name}
    code = "import sys, ml.model.openvino_backend; assert sys.modules['openvino_telemetry'] is None"
    subprocess.run([sys.executable, "-c", code], env=environment | {"HOME": str(tmp_path)}, check=True, timeout=120)
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_names_other_files_for_its_weights_is_refused(tmp_path):
    (tmp_path / "weights").write_bytes(np.ones(4, np.float32).tobytes())
    weights = onnx.TensorProto(name="weights", data_type=onnx.TensorProto.FLOAT, dims=[4])
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=str(tmp_path / "weights"))
    shape = onnx.helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, [4])
    node = onnx.helper.make_node("Identity", ["weights"], ["features"])
    network = onnx.helper.make_model(onnx.helper.make_graph([node], "network", [], [shape], [weights]))
    with pytest.raises(BadBundle, match="names other files for its weights"):
        openvino_backend._convert(openvino.Core(), network.SerializeToString(), tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
