"""Nothing leaves the machine: OpenVINO's telemetry is not even imported."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("openvino")


def test_importing_openvino_leaves_and_sends_nothing(tmp_path):
    """Outside of CI, where its telemetry is on; it would leave a client's id in the home folder."""
    environment = {name: value for name, value in os.environ.items() if "CI" not in name and "BUILD" not in name}
    code = "import sys, ml.model.openvino_backend; assert sys.modules['openvino_telemetry'] is None"
    subprocess.run([sys.executable, "-c", code], env=environment | {"HOME": str(tmp_path)}, check=True, timeout=120)
    assert list(tmp_path.iterdir()) == []
