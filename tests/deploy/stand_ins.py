"""Stand-ins for the worker and the portal: as short-lived or as stubborn as a test wants, and started in milliseconds.

The queue is the real embedded Valkey.
"""

import sys

# Ready as a real worker is: it writes in the queue's server that it lives.
WORKER = [
    sys.executable,
    "-c",
    """
import json, os, redis, signal, socket, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
server = redis.Redis.from_url(os.environ["LOOKALIKE_REDIS_URL"])
texts = dict.fromkeys(("id", "device", "precision", "why", "model", "collection"), "stand-in")
numbers = dict.fromkeys(("images", "age_s", "started_at", "rss_mb"), 0)
own = {"pid": os.getpid(), "host": socket.gethostname(), "queues": []}
server.set(f"lookalike:worker:{os.getpid()}", json.dumps(texts | numbers | own))
server.zadd("lookalike:workers", {os.getpid(): time.time()})
time.sleep(600)
""",
]
FAILING_WORKER = [sys.executable, "-c", "raise SystemExit('error: the store is damaged\\nhint: run verify')"]


def portal(descriptor: int) -> list[str]:
    """A portal that answers every request, on the inherited socket."""
    program = (
        "import http.server, socket, sys\n"
        "class Answer(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200); self.end_headers(); self.wfile.write(b'{}')\n"
        "server = http.server.HTTPServer(('127.0.0.1', 0), Answer, bind_and_activate=False)\n"
        f"server.socket = socket.socket(fileno={descriptor})\n"
        "server.serve_forever()"
    )
    return [sys.executable, "-c", program]
