"""An upgrade and a drain that are cancelled half way, at whatever step: section P of the catalogue.

That nothing is left over is proved for these and other scenarios in tests/cancellation; here, what they leave is of one piece.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from functools import partial
from itertools import count

import pytest
import trio
import trio.testing

from tests.hostile.process import Application, Record, failures
from tests.level import unchanged
from trio_sio import Route, RoutingTable, Server
from trio_sio.doors.native.http import handle_connection
from trio_sio.engine.states import TransportState
from trio_sio.testing import InMemoryServer, RawHttp, RawWebSocket, WebSocketClosed, open_test_server

TARGET = "/socket.io/?EIO=4&transport=polling"


class CancelAt(trio.abc.Instrument):
    """While a block runs, counts the steps of all tasks together, and cancels a scope after so many.

    Args:
      scope: What is cancelled.
      step: After which step, from 1.
    """

    def __init__(self, scope: trio.CancelScope, step: int) -> None:
        self._scope = scope
        self._left = step

    def __enter__(self) -> None:
        trio.lowlevel.add_instrument(self)

    def __exit__(self, *_exc_info: object) -> None:
        trio.lowlevel.remove_instrument(self)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._left -= 1
        if self._left == 0:
            self._scope.cancel()


async def poll_for(http: RawHttp, target: str, expected: bytes) -> None:
    packets: list[bytes] = []
    while expected not in packets:
        response = await http.request("GET", target)
        assert response.status == 200
        packets += response.body.split(b"\x1e")


async def upgrade(http: RawHttp, target: str, stream: trio.abc.Stream) -> bool:
    """Upgrade as a client does that polls meanwhile; tell whether the WebSocket carried the session."""
    carried = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(http.request, "GET", target)
        with suppress(WebSocketClosed, trio.BrokenResourceError):
            websocket = await RawWebSocket.open(stream, target.replace("polling", "websocket"))
            await websocket.send("2probe")
            assert await websocket.receive() == "3probe"
            await websocket.send("5")
            await websocket.send('421["echo","new"]')
            carried = await websocket.receive() == '431["new"]'
        await trio.aclose_forcefully(stream)
    return carried


async def interrupt_upgrade(memory: InMemoryServer, server: Server, record: Record, step: int) -> str:
    """Return which transport the session has after its WebSocket was cancelled; ``"websocket"`` if that came too late."""
    async with await memory.http() as http, await memory.http() as posts:
        opened = await http.request("GET", TARGET)
        sid = json.loads(opened.body[1:])["sid"]
        target = f"{TARGET}&sid={sid}"
        await posts.request("POST", target, body="40")
        assert (await http.request("GET", target)).body.startswith(b"40")
        ours, theirs = trio.testing.memory_stream_pair()
        # Cancelled is what an ASGI host cancels, too: the task that has the wire.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(handle_connection, memory._door, theirs, None, address="test", secure=False))
            with CancelAt(nursery.cancel_scope, step), trio.CancelScope(shield=True):
                carried = await upgrade(http, target, ours)
        await trio.testing.wait_all_tasks_blocked()
        connection = server.engine.sessions.by_id.get(sid)
        if connection is not None:
            assert connection.transport_state is TransportState.POLLING
            assert not record.reasons
            assert (await posts.request("POST", target, body='422["echo","old"]')).status == 200
            await poll_for(http, target, b'432["old"]')
            await posts.request("POST", target, body="1")
            return "polling"
        assert record.reasons.total() == 1
        return "websocket" if carried else "none"


@pytest.mark.hostile("P16")
async def test_an_upgrade_is_cancelled_at_each_step(autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture) -> None:
    outcomes: Counter[str] = Counter()
    for step in count(1):
        record = Record()
        server = Server(RoutingTable(Route("/", partial(Application, record))))
        async with open_test_server(server) as memory, unchanged(server):
            outcome = await interrupt_upgrade(memory, server, record, step)
        outcomes[outcome] += 1
        if outcome == "websocket":
            break
    # First the old one goes on; once the new one carries the session, that ends with it.
    assert outcomes["polling"] > 20
    assert outcomes["none"] > 3
    assert not failures(caplog)


@pytest.mark.hostile("P16")
async def test_a_drain_is_cancelled_at_each_step(autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture) -> None:
    for step in count(1):
        record = Record()
        server = Server(RoutingTable(Route("/", partial(Application, record))))
        async with open_test_server(server) as memory:
            with trio.CancelScope() as scope:
                async with memory.strict_client() as client:
                    assert await client.emit_with_ack("echo", 1) == 1
                    with CancelAt(scope, step):
                        await server.drain()
            # Whoever drains again, as leaving the server does, gets it done.
            await server.drain()
            assert server.engine.clients_count == 0
            assert not server.of("/").sockets
        assert record.reasons == {"server shutting down": 1}
        if not scope.cancelled_caught:
            break
    assert step > 5
    assert not failures(caplog)
