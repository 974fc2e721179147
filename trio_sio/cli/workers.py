"""``trio-sio run --workers N``: the command above several processes, and what each of them serves."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

import trio

from ..cluster.local import LocalCluster
from ..concurrency.groups import leaves_of
from ..errors import ConfigurationError
from ..routing.table import RoutingTable
from ..server import Server
from ..stopping import SIGNALS
from ..workers import Workers, WorkersFailed, serve_listeners, worker_number
from .admin import admin_of
from .collector import collect_seldom
from .output import complain
from .run import LOG_FORMAT, add_run_options, config_changes, make_cluster, make_server, open_sockets, refusing_addresses, url_of
from .service import ServiceManager, take_service_manager
from .target import resolve
from .usage import UsageError

__all__ = ["open_server", "run_workers"]

_HOSTED: Final = (
    "A connection of {door}'s cannot go from one worker to another. Serve with one process per port behind a proxy "
    "(examples/behind_nginx), which also speaks HTTP/2; or leave --door {door} out and let a proxy in front of the workers speak it."
)


async def run_workers(options: argparse.Namespace) -> int:
    """Keep the workers until SIGINT or SIGTERM, let them drain, and return the exit code."""
    if options.door != "native":
        raise UsageError(_HOSTED.format(door=options.door))
    logging.basicConfig(level=options.log_level.upper(), format=LOG_FORMAT)
    manager = take_service_manager()
    config_changes(options)  # before anything is opened
    admin_of(options)
    make_cluster(options.redis, options.redis_key)
    code = 0
    try:
        async with trio.open_nursery() as nursery:
            with refusing_addresses(options):
                workers: Workers = await nursery.start(
                    partial(
                        serve_listeners,
                        open_server,
                        await open_sockets(options),
                        workers=options.workers,
                        arguments=[list(options.arguments)],
                        static=options.static,
                        health_path=options.health_path,
                        certfile=options.certfile,
                        keyfile=options.keyfile,
                        docs_path=options.docs_path,
                        metrics_path=options.metrics_path,
                        worker_timeout=options.worker_timeout,
                    )
                )
            code = await _obey(workers, options, manager)
            nursery.cancel_scope.cancel()
    except* WorkersFailed as group:
        complain(str(next(leaves_of(group))))
        code = 1
    return code


async def _obey(workers: Workers, options: argparse.Namespace, manager: ServiceManager) -> int:
    """Do what signals say, until one has ended all workers; return the exit code."""
    code = 0
    with trio.open_signal_receiver(*SIGNALS, signal.SIGHUP) as received:
        _announce(workers, options)
        async with trio.open_nursery() as nursery:
            restarts, wanted = trio.open_memory_channel[None](1)
            nursery.start_soon(_restart, workers, wanted, manager)
            await manager.ready()
            nursery.start_soon(manager.show_life)
            ending = False
            async for number in received:
                name = signal.Signals(number).name
                if number == signal.SIGHUP:
                    print(f"{name}: replacing the workers, one by one.", file=sys.stderr, flush=True)
                    with suppress(trio.WouldBlock):  # once more is enough for all that has changed meanwhile
                        restarts.send_nowait(None)
                elif ending:
                    code = 128 + number
                    nursery.cancel_scope.cancel()
                    break
                else:
                    ending = True
                    print(f"{name}: saying goodbye; once more to stop at once.", file=sys.stderr, flush=True)
                    nursery.start_soon(_drain, workers, nursery.cancel_scope, manager)
    return code


async def _restart(workers: Workers, wanted: trio.MemoryReceiveChannel[None], manager: ServiceManager) -> None:
    async for _ in wanted:
        await manager.reloading()
        try:
            await workers.restart()
        except ConfigurationError as error:
            complain(f"{error} Nothing is replaced.")
        await manager.ready()


async def _drain(workers: Workers, everything: trio.CancelScope, manager: ServiceManager) -> None:
    await manager.stopping()
    await workers.drain()
    everything.cancel()


def _announce(workers: Workers, options: argparse.Namespace) -> None:
    about = workers.about
    scheme = "http" if options.certfile is None else "https"
    processes = "1 worker" if options.workers == 1 else f"{options.workers} workers"
    for listener in workers.listeners:
        print(f"Serving {url_of(listener, scheme)}{about['path'].rstrip('/')}/ over {', '.join(about['transports'])} in {processes}")
    print(about["routes"], flush=True)


@asynccontextmanager
async def open_server(arguments: Sequence[str]) -> AsyncIterator[Server]:
    """Yield the server of one worker; ``arguments``: those of the command line."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_run_options(parser)
    options = parser.parse_args(list(arguments)[1:])
    logging.basicConfig(level=options.log_level.upper(), format=LOG_FORMAT.replace(":", f" (worker {worker_number()}):", 1))
    try:
        changes = config_changes(options)
        cluster = make_cluster(options.redis, options.redis_key)
        async with resolve(options.target) as found:
            if isinstance(found, RoutingTable) and cluster is None:
                cluster = LocalCluster()
            server = make_server(found, options.target, changes, cluster)
            admin_of(options)(server)
            collect_seldom()
            yield server
    except UsageError as exc:
        raise ConfigurationError(str(exc)) from None
