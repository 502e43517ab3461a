"""`lookalike status` says what it found, also when that was still starting."""

import json
import os
import subprocess
import sys
from collections.abc import Callable

from deploy.local import locks
from tests.processes import wait_for
from workers.settings import Settings


def test_a_system_that_was_starting_counts_as_running(
    home_settings: Settings, elsewhere: Callable[[str], "subprocess.Popen[str]"]
) -> None:
    up = elsewhere(
        """
        slow = "import os, time\\nwhile not os.path.exists('go'): time.sleep(0.05)\\n" + stand_ins.WORKER[2]
        stack.worker_command = lambda: [sys.executable, "-c", slow]
        with Stack(settings, portal=("127.0.0.1", 0)) as running:
            print(running.address, flush=True)
            time.sleep(600)
        """
    )
    wait_for(lambda: locks.is_held(home_settings.home))
    environment = {**os.environ, "LOOKALIKE_HOME": str(home_settings.home)}
    command = [sys.executable, "-P", "-m", "deploy.cli", "status", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as status:
        assert status.stderr and status.stdout and up.stdout
        assert "waiting for the system" in status.stderr.readline()
        (home_settings.home / "run" / "go").touch()
        report = json.loads(status.stdout.read())
    assert (report["running"], report["portal"]) == (True, up.stdout.readline().strip())
