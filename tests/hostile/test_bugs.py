"""Bugs of our own, in each layer of one connection: section P of the catalogue."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

import pytest
import trio

from tests.hostile.process import Record, failures, listening, tcp_client
from tests.hostile.victim import BOUND
from tests.level import unchanged
from trio_sio import Server
from trio_sio.concurrency.outbox import Outbox
from trio_sio.doors.native.websocket import NativePipe
from trio_sio.doors.native.wire import SocketWire
from trio_sio.engine.connection import Connection
from trio_sio.engine.heartbeat import Heartbeat
from trio_sio.engine.inbox import Inbox
from trio_sio.namespaces.client import Client
from trio_sio.namespaces.core import SocketCore
from trio_sio.namespaces.dispatcher import Dispatcher
from trio_sio.protocol.socketio import Decoder
from trio_sio.routing.dispatch import SocketRoutes
from trio_sio.testing import RawHttp, RawWebSocket, WebSocketClosed


class Bug(Exception):
    """What a bug of ours raises."""


@dataclass
class Layer:
    """Where a bug strikes.

    Attributes:
      owner: The class.
      method: The method that raises once.
      strike: What the victim does to run into it; by default an event with an ack.
    """

    owner: type
    method: str
    opens: bool = False

    def __str__(self) -> str:
        return f"{self.owner.__name__}.{self.method}"


LAYERS: Final = [
    Layer(SocketWire, "readable"),
    Layer(NativePipe, "_feed", opens=True),
    Layer(Connection, "text"),
    Layer(Client, "text"),
    Layer(Decoder, "text"),
    Layer(Client, "_take"),
    Layer(SocketCore, "receive"),
    Layer(Dispatcher, "put"),
    Layer(Inbox, "queued"),
    Layer(SocketRoutes, "receive"),
    Layer(Dispatcher, "run", opens=True),
    Layer(SocketCore, "connect", opens=True),
    Layer(Heartbeat, "run", opens=True),
    Layer(Outbox, "take"),
    Layer(NativePipe, "try_send_nowait"),
    Layer(SocketWire, "try_send"),
]


@pytest.mark.hostile("P22")
@pytest.mark.parametrize("layer", LAYERS, ids=str)
async def test_a_bug_of_ours_ends_one_connection(
    layer: Layer, server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(server) as port, tcp_client(port) as bystander:
        assert await bystander.emit_with_ack("echo", 1) == 1
        async with unchanged(server), trio.open_nursery() as nursery:
            if layer.opens:
                strike_once(monkeypatch, layer)
            victim = await RawWebSocket.open(await trio.open_tcp_stream("127.0.0.1", port), "/socket.io/?EIO=4&transport=websocket")
            with pytest.raises(WebSocketClosed), trio.fail_after(BOUND):
                await victim.receive()
                await victim.send("40")
                await victim.receive()
                if not layer.opens:
                    strike_once(monkeypatch, layer)
                await victim.send('421["echo",1]')
                await victim.receive()
            await trio.aclose_forcefully(victim.stream)
            assert await bystander.emit_with_ack("echo", 2) == 2
            nursery.cancel_scope.cancel()
        monkeypatch.undo()
    (failure,) = failures(caplog)
    assert failure.exc_info is not None
    assert isinstance(leaf(failure.exc_info[1]), Bug)


def strike_once(monkeypatch: pytest.MonkeyPatch, layer: Layer) -> None:
    """Let the next call of a method raise, the first one only."""
    right = getattr(layer.owner, layer.method)
    struck = False

    def wrong(*args: Any) -> Any:
        nonlocal struck
        if struck:
            return right(*args)
        struck = True
        raise Bug(str(layer))

    monkeypatch.setattr(layer.owner, layer.method, wrong)


def leaf(error: BaseException | None) -> BaseException | None:
    """Return the only exception in ``error``, whatever groups it is in."""
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    return error


@pytest.mark.hostile("P22")
async def test_a_bug_of_ours_ends_one_polling_session(
    server: Server, record: Record, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(server) as port, tcp_client(port) as bystander:
        assert await bystander.emit_with_ack("echo", 1) == 1
        async with unchanged(server), RawHttp(await trio.open_tcp_stream("127.0.0.1", port)) as http:
            opened = await http.request("GET", "/socket.io/?EIO=4&transport=polling")
            target = f"/socket.io/?EIO=4&transport=polling&sid={json.loads(opened.body[1:])['sid']}"
            await http.request("POST", target, body="40")
            strike_once(monkeypatch, Layer(Decoder, "text"))
            assert (await http.request("POST", target, body='42["echo",1]')).status == 400
            assert await bystander.emit_with_ack("echo", 2) == 2
    assert record.reasons["forced close"] == 1
    (failure,) = failures(caplog)
    assert failure.exc_info is not None
    assert isinstance(failure.exc_info[1], Bug)
