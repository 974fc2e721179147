"""The benchmark's application in several workers.

python workers_server.py PORT --workers N [--redis PORT] [--cores 0,1]
"""

from __future__ import annotations

import argparse
import os
from functools import partial

import trio
from trio_sio_server import make_server

from trio_sio import Server
from trio_sio.cli.collector import collect_seldom
from trio_sio.cluster.local import LocalCluster
from trio_sio.doors.native import open_listeners
from trio_sio.workers import serve_listeners


def make_worker(redis: int | None) -> Server:
    """Return the server of one worker; ``redis``: through which it hears the others, or else the local bus."""
    collect_seldom()  # as `trio-sio run` does
    return make_server(redis=redis) if redis is not None else make_server(cluster=LocalCluster())


async def main() -> None:
    """Serve what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--redis", type=int)
    parser.add_argument("--cores", type=lambda text: set(map(int, text.split(","))))
    arguments = parser.parse_args()
    if arguments.cores:
        os.sched_setaffinity(0, arguments.cores)
    sockets = [listener.socket for listener in await open_listeners("127.0.0.1", arguments.port)]
    serve = partial(serve_listeners, make_worker, sockets, workers=arguments.workers)
    await serve(arguments=[arguments.redis], health_path="/healthz")


if __name__ == "__main__":
    trio.run(main)
