"""The echo on ``/``."""

from __future__ import annotations

import pytest
import trio.testing

from handlers.echo import EchoController
from trio_sio import Route, RoutingTable
from trio_sio.testing import open_test_server

ARGUMENTS = [(), (None,), (1,), (1, "two", [3.5, None]), ({"bytes": b"\x00\xff"},), (b"a", b"b")]


@pytest.mark.parametrize("arguments", ARGUMENTS)
async def test_echo_with_an_ack(autojump_clock: trio.testing.MockClock, arguments: tuple[object, ...]) -> None:
    async with open_test_server(RoutingTable(Route("/", EchoController))) as server, server.client() as client:
        one_value = arguments[0] if len(arguments) == 1 else arguments or None
        assert await client.emit_with_ack("echo", *arguments) == one_value


@pytest.mark.parametrize("arguments", ARGUMENTS)
async def test_echo_without_an_ack(autojump_clock: trio.testing.MockClock, arguments: tuple[object, ...]) -> None:
    async with open_test_server(RoutingTable(Route("/", EchoController))) as server, server.client() as client:
        await client.emit("echo", *arguments)
        assert await client.once("echo") == arguments
