"""examples/stop_a_stream.py: a stream that ends with a second event, or with its client."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from functools import partial

import pytest
import trio
import trio.testing

from examples.stop_a_stream import Market, PricesController
from tests.conftest import ROOT
from tests.level import unchanged
from tests.ports import free_port
from trio_sio import Config, Route, RoutingTable, open_client
from trio_sio.testing import open_test_server


def make_routes(market: Market) -> RoutingTable:
    return RoutingTable(Route("/", partial(PricesController, market=market)))


async def test_a_second_event_stops_the_stream(autojump_clock: trio.testing.MockClock) -> None:
    market = Market(noise=random.Random(1))
    counts: dict[str, object] = {}
    async with open_test_server(make_routes(market)) as server, server.client() as client, trio.open_nursery() as nursery:

        async def follow(name: str) -> None:
            counts[name] = await client.emit_with_ack("follow", name)

        nursery.start_soon(follow, "tea")
        nursery.start_soon(follow, "milk")
        await trio.sleep(0.25)
        assert market.followers == {"tea": 1, "milk": 1}
        assert (await client.emit_with_ack("follow", "tea"))["message"] == "You follow tea already."
        await trio.sleep(1)
        assert await client.emit_with_ack("unfollow", "tea") is True
        assert await client.emit_with_ack("unfollow", "tea") is False
        await trio.sleep(1)
        assert counts == {"tea": 3}
        assert market.followers == {"tea": 0, "milk": 1}
        assert await client.emit_with_ack("unfollow", "milk") is True
    assert counts == {"tea": 3, "milk": 5}


async def test_events_right_behind_each_other(autojump_clock: trio.testing.MockClock) -> None:
    market = Market()
    async with open_test_server(make_routes(market)) as server, server.strict_client() as client:
        for _ in range(10):
            await client.emit("follow", "tea")
            await client.emit("unfollow", "tea")
        await client.emit("follow", "tea")
        await trio.sleep(1.75)
        assert market.followers == {"tea": 1}
        assert len(client.pending) == 10 + 4


@pytest.mark.parametrize("end", ["goodbye", "end of connection", "silence"])
async def test_the_clients_going_stops_the_stream(end: str, autojump_clock: trio.testing.MockClock) -> None:
    market = Market()
    config = Config(ping_interval=2, ping_timeout=1)
    async with open_test_server(make_routes(market), config) as server, unchanged(server.server, objects=True):
        async with server.strict_client(answer_pings=end != "silence") as client:
            await client.emit("follow", "tea")
            await client.emit("follow", "milk")
            await trio.testing.wait_all_tasks_blocked()
            assert market.followers == {"tea": 1, "milk": 1}
            if end == "goodbye":
                await client.disconnect()
            elif end == "end of connection":
                await client.connection.abort()
            else:
                await client.connection.closed()
        await trio.testing.wait_all_tasks_blocked()
        assert market.followers == {"tea": 0, "milk": 0}


@pytest.mark.slow
def test_the_program_serves_until_it_is_interrupted() -> None:
    port = free_port()

    async def listen() -> None:
        async with open_client(f"http://127.0.0.1:{port}") as client:
            await client.emit("follow", "tea")
            name, price = await client.once("price", timeout=20)
            assert name == "tea"
            assert 9 <= price <= 11

    command = [sys.executable, "-m", "examples.stop_a_stream"]
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PORT": str(port)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == f"Listening on http://127.0.0.1:{port}\n"
            trio.run(listen)
            program.send_signal(signal.SIGINT)
            _, errors = program.communicate(timeout=20)
        finally:
            program.kill()
    assert (program.returncode, errors) == (0, "")
