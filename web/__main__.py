"""The portal as a process: `python -m web --fd 7`, or `--bind 127.0.0.1:8000`. Settings come from the environment."""

import argparse
import socket

from web import create_app
from web.server import serve


def main() -> None:
    """Serves until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m web", description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--fd", type=int, help="a listening socket that was handed down")
    where.add_argument("--bind", help="HOST:PORT to listen on")
    options = parser.parse_args()
    if options.fd is not None:
        listener = socket.socket(fileno=options.fd)
    else:
        host, _, port = options.bind.rpartition(":")
        listener = socket.create_server((host, int(port)), backlog=512)
    serve(create_app(), listener)


if __name__ == "__main__":
    main()
