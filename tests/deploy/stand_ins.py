"""Stand-ins for the worker and the portal: as short-lived or as stubborn as a test wants, and started in milliseconds.

The queue is the real embedded Valkey.
"""

import sys

# Ready as a real worker is: with a file that carries its process id.
WORKER = [
    sys.executable,
    "-c",
    "import os, pathlib, signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
    "home = pathlib.Path(os.environ['LOOKALIKE_HOME'])\n"
    "(home / 'run' / f'worker-{os.getpid()}.json').touch()\n"
    "time.sleep(600)",
]
FAILING_WORKER = [sys.executable, "-c", "raise SystemExit('error: the store is damaged\\nhint: run verify')"]


def portal(bind: str, _working_directory: object) -> list[str]:
    """A portal that answers every request, on the inherited socket."""
    program = (
        "import http.server, socket, sys\n"
        "class Answer(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200); self.end_headers(); self.wfile.write(b'{}')\n"
        "server = http.server.HTTPServer(('127.0.0.1', 0), Answer, bind_and_activate=False)\n"
        f"server.socket = socket.socket(fileno={bind.removeprefix('fd://')})\n"
        "server.serve_forever()"
    )
    return [sys.executable, "-c", program]
