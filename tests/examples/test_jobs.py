"""examples/jobs: jobs that HTTP starts, sockets follow, and a stopping server cancels or finishes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
import pytest
import trio
from hypercorn.config import Config as HypercornConfig

from examples.jobs import app as example
from examples.jobs.app import Job, Jobs, Order, ended, make_site, progress
from tests.conftest import ROOT
from tests.examples.programs import javascript, running
from trio_sio import Route, RoutingTable, Server, open_client
from trio_sio.doors import hypercorn
from trio_sio.testing import HttpResponse, RawHttp, open_test_server

BOUND = 20.0
LONG = 10_000_000
SHORT = 100_000


@asynccontextmanager
async def under_hypercorn(jobs: Jobs, stop: trio.Event) -> AsyncIterator[int]:
    server = Server(RoutingTable(Route("/", jobs, events=[progress, ended])))
    config = HypercornConfig()
    config.bind, config.errorlog = ["127.0.0.1:0"], None
    serve = partial(hypercorn.serve, server.asgi(make_site(server, jobs)), config, shutdown_trigger=stop.wait)
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            (url,) = await nursery.start(serve)
            yield int(url.rpartition(":")[2])


async def post(port: int, order: Mapping[str, object]) -> HttpResponse:
    async with RawHttp(await trio.open_tcp_stream("127.0.0.1", port)) as http:
        return await http.request("POST", "/jobs", body=msgspec.json.encode(order).decode())


async def start(port: int, **order: object) -> Job:
    response = await post(port, order)
    assert response.status == 202
    return msgspec.json.decode(response.body, type=Job)


async def test_a_stop_cancels_some_jobs_and_waits_for_others() -> None:
    jobs, stop = Jobs(), trio.Event()
    async with under_hypercorn(jobs, stop) as port, open_client(f"http://127.0.0.1:{port}", reconnection=None) as client:
        cancelled = await start(port, below=LONG)
        finished = await start(port, below=SHORT, finish=True)
        await client.emit_with_ack("watch", finished.id)
        await client.once(progress)
        stop.set()
        await client.closed()
    assert jobs.known[cancelled.id].state == "cancelled"
    assert jobs.known[finished.id] == Job(finished.id, SHORT, "done", SHORT, 9_592)
    assert jobs.scopes == {}


async def test_a_job_that_does_not_finish_in_time_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "GRACE", 0.2)
    jobs, stop = Jobs(), trio.Event()
    async with under_hypercorn(jobs, stop) as port:
        job = await start(port, below=LONG, finish=True)
        stop.set()
    assert jobs.known[job.id].state == "cancelled"


async def test_no_job_begins_that_could_not_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "MOST", 1)
    jobs, stop = Jobs(), trio.Event()
    async with under_hypercorn(jobs, stop) as port:
        for order in ({}, {"below": 1}, {"below": LONG + 1}, {"below": "9"}):
            assert (await post(port, order)).status == 400
        await start(port, below=LONG)
        assert (await post(port, {"below": 2})).status == 503
        stop.set()


async def test_the_newest_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "KEPT", 2)
    jobs = Jobs()
    server = Server(RoutingTable(Route("/", jobs)))
    with trio.fail_after(BOUND):
        async with open_test_server(server) as memory, memory.client() as client:
            first, second, third = (jobs.start(server, Order(below)) for below in (10, 100, 1_000))
            while (answer := await client.emit_with_ack("watch", third.id))["state"] == "running":
                await client.once(ended)
            assert answer["primes"] == 168
            assert [*jobs.known] == [second.id, third.id]
            assert (await client.emit_with_ack("watch", first.id))["message"] == "There is no such job."


@pytest.mark.slow
@pytest.mark.needs("node", "socket.io-client")
def test_the_official_client_of_the_program(tmp_path: Path) -> None:
    with running(ROOT / "examples/jobs/app.py", tmp_path) as url:
        javascript(ROOT / "tests/examples/jobs.cjs", url)
