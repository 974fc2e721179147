"""A process that was busy for longer than ping_timeout does not blame its clients."""

from __future__ import annotations

import socket

import pytest
import trio
import trio.testing

from trio_sio import Config, Route, RoutingTable, Server, on_disconnection, on_message
from trio_sio.testing.raw import RawWebSocket, WebSocketClosed

PONG = b"\x81\x81\x00\x00\x00\x003"
TARGET = "/socket.io/?EIO=4&transport=websocket"


class Blocker:
    """Blocks the whole process, for so long that the time-out of the ping under way passes."""

    def __init__(self, clock: trio.testing.MockClock) -> None:
        self.clock = clock
        self.reasons: list[str] = []
        self.answers: list[socket.socket] = []

    @on_message("block")
    def block(self) -> None:
        """Be busy; meanwhile the answers of the clients arrive in the kernel."""
        for sock in self.answers:
            sock.send(PONG)
        self.clock.jump(1_000)

    @on_disconnection
    def gone(self, reason: str) -> None:
        """Note it."""
        self.reasons.append(reason)


@pytest.mark.hostile("P24")
async def test_answers_that_wait_in_the_kernel_are_in_time(mock_clock: trio.testing.MockClock) -> None:
    blocker = Blocker(mock_clock)
    server = Server(RoutingTable(Route("/", blocker)), config=Config(ping_interval=25, ping_timeout=20))
    async with server, trio.open_nursery() as nursery:
        (listener,) = await nursery.start(server.serve, "127.0.0.1", 0)
        clients = []
        for number in range(3):
            stream = await trio.open_tcp_stream("127.0.0.1", listener.sockname[1])
            client = await RawWebSocket.open(stream, TARGET)
            assert str(await client.receive()).startswith("0{")
            await client.send("40")
            assert str(await client.receive()).startswith("40{")
            clients.append(client)
            if number:
                blocker.answers.append(socket.socket(fileno=socket.dup(stream.socket.fileno())))
        mock_clock.jump(25)
        for client in clients:
            assert await client.receive() == "2"

        await clients[1].send('42["block"]')

        for client in clients[1:]:
            await client.send('421["anybody there?"]')
            assert str(await client.receive()).startswith("431[")
        assert blocker.reasons == []
        # The one that has not answered gets as long as this process was late, but not longer than ping_timeout.
        mock_clock.jump(20)
        with pytest.raises(WebSocketClosed):
            await clients[0].receive()
        assert blocker.reasons == ["ping timeout"]
        for sock in blocker.answers:
            sock.close()
        for client in clients:
            await client.stream.aclose()
        nursery.cancel_scope.cancel()
