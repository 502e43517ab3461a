"""The script that starts the queue's server in containers, run with a real server."""

import re
import subprocess
import time
from pathlib import Path

import pytest
import redis

from deploy.local import valkey
from tests.deploy.deployments import ROOT, pod_templates, secrets_folder
from tests.processes import free_port

SCRIPT = (ROOT / "deploy/docker/redis.sh").read_text("utf-8")


def test_the_queue_wants_its_password_and_evicts_nothing(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "redis-server").symlink_to(valkey.program())
    script = SCRIPT.replace("/run/secrets", str(secrets_folder())).replace("/run/redis", str(tmp_path))
    script = script.replace("dir /data", f"dir {tmp_path}\nbind 127.0.0.1\nport {port}")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    with subprocess.Popen(["sh", "-c", script], env=environment, stdout=subprocess.DEVNULL) as server:
        password = (secrets_folder() / "redis_password").read_text()
        try:
            while not valkey.answers(f"redis://:{password}@127.0.0.1:{port}/0"):
                assert server.poll() is None
                time.sleep(0.02)
            with pytest.raises(redis.AuthenticationError):
                redis.Redis(port=port).ping()
            known = redis.Redis(port=port, password=password, decode_responses=True)
            assert known.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert known.config_get("appendonly") == {"appendonly": "yes"}
        finally:
            server.terminate()
    assert (tmp_path / "redis.conf").stat().st_mode & 0o077 == 0


def test_the_cluster_configures_the_queue_as_compose_does() -> None:
    inline = pod_templates("cpu")["redis"]["spec"]["containers"][0]["args"][0]
    written = [re.search(r"<<END\n(.*?)^END$", text, re.M | re.S) for text in (inline, SCRIPT)]
    in_cluster, in_compose = (found[1] for found in written if found)
    assert in_cluster.replace("/run/secrets/lookalike/", "/run/secrets/") == in_compose.replace(
        "${REDIS_MAXMEMORY:-1gb}", "1gb"
    )
