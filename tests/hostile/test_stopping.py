"""Servers that stop while everybody talks: section P of the catalogue."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from typing import Final

import pytest
import trio

from tests.hostile.process import Record, failures, join_main, listening, tcp_client
from trio_sio import Route, RoutingTable, Server, Socket, on_connection, on_disconnection, on_message
from trio_sio.engine.polling import PollingTransport
from trio_sio.testing import HttpResponse, RawHttp, RawWebSocket, WebSocketClosed
from trio_sio.testing.strict import StrictSocket


@pytest.mark.hostile("P22")
async def test_a_server_is_cancelled_with_everybody_connected(server: Server, record: Record, caplog: pytest.LogCaptureFixture) -> None:
    async with trio.open_nursery() as clients, listening(server) as port:
        for _ in range(20):
            client = await clients.start(stay_connected, port)  # noqa: ASYNC111  # cancelling with everybody connected is the test
            assert await client.emit_with_ack("echo", 1) == 1
    assert record.reasons == {"server shutting down": 20}
    assert not failures(caplog)


async def stay_connected(port: int, task_status: trio.TaskStatus[StrictSocket]) -> None:
    """Be a client until the server ends that."""
    async with tcp_client(port) as client:
        task_status.started(client)
        await client.closed()


class Busy:
    """Answers everybody, and announces who leaves."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()

    @on_connection
    async def joined(self, socket: Socket) -> None:
        await socket.join("lobby")

    @on_message("say")
    async def say(self, number: int) -> int:
        return number

    @on_disconnection
    async def gone(self, socket: Socket, reason: str) -> None:
        self.reasons[reason] += 1
        # A goodbye of each to all would be forty thousand packets: the rooms are empty by now.
        await socket.namespace.to("lobby").emit("left", socket.id)


CLIENTS: Final = 200
LAST_WORDS: Final = b'42["last words"]'


class Crowd:
    """Clients that talk until the server says goodbye.

    Attributes:
      talking: How many have been answered at least once.
      goodbyes: How each of them was told that it was over, and whether it had heard the last words.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.talking = 0
        self.everybody_talks = trio.Event()
        self.goodbyes: Counter[object] = Counter()

    def _talks(self) -> None:
        self.talking += 1
        if self.talking == CLIENTS:
            self.everybody_talks.set()

    async def websocket(self) -> None:
        """Be a client on a WebSocket."""
        stream = await trio.open_tcp_stream("127.0.0.1", self._port)
        async with await RawWebSocket.open(stream, "/socket.io/?EIO=4&transport=websocket") as websocket:
            await join_main(websocket)
            await websocket.send('420["say",0]')
            answered, last_words = False, False
            try:
                while True:
                    message = str(await websocket.receive())
                    assert not message.startswith('42["left"')
                    last_words = last_words or message == LAST_WORDS.decode()
                    if message.startswith("43"):
                        if not answered:
                            self._talks()
                        answered = True
                        # When the goodbye is there already, what came before it is still to be read.
                        with suppress(WebSocketClosed, trio.BrokenResourceError):
                            await websocket.send('420["say",0]')
            except WebSocketClosed as closed:
                self.goodbyes[closed.code, "last words heard" if last_words else "no last words"] += 1

    async def polling(self) -> None:
        """Be a client that polls."""
        target = "/socket.io/?EIO=4&transport=polling"
        opened = await self._request("GET", target)
        target += "&sid=" + json.loads(opened.body[1:])["sid"]
        await self._request("POST", target, "40")
        packets: list[bytes] = []
        while packets[-1:] != [b"1"]:
            packets += (await self._request("GET", target)).body.split(b"\x1e")
            if len(packets) == 1:
                await self._request("POST", target, '420["say",0]')
            elif packets[-1] == b"430[0]":
                self._talks()
        assert [packet[:2] for packet in packets] == [b"40", b"43", b"42", b"1"]
        self.goodbyes["1", "last words heard" if LAST_WORDS in packets else "no last words"] += 1

    async def be_turned_away(self) -> HttpResponse:
        """Come while the server drains."""
        return await self._request("GET", "/socket.io/?EIO=4&transport=polling")

    async def _request(self, method: str, target: str, body: str = "") -> HttpResponse:
        async with RawHttp(await trio.open_tcp_stream("127.0.0.1", self._port)) as http:
            return await http.request(method, target, body=body)


@pytest.mark.hostile("P01")
async def test_two_hundred_busy_clients_when_the_server_stops(caplog: pytest.LogCaptureFixture) -> None:
    busy = Busy()
    server = Server(RoutingTable(Route("/", busy)))
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(server.serve, "127.0.0.1", 0)
        port = listeners[0].sockname[1]
        crowd = Crowd(port)
        for number in range(CLIENTS):
            nursery.start_soon(crowd.websocket if number % 2 else crowd.polling)
        with trio.fail_after(30):
            await crowd.everybody_talks.wait()
            connections = server.engine.sessions.by_id.values()
            transports = [one.transport for one in connections if isinstance(one.transport, PollingTransport)]
            assert len(transports) == CLIENTS // 2
            # A poll is the only way to reach them, so they shall have one pending.
            while any(transport._poll is None for transport in transports):  # noqa: ASYNC110
                await trio.sleep(0.005)
        await server.emit("last words")
        with trio.fail_after(server.config.drain_timeout / 2):
            async with trio.open_nursery() as draining:
                draining.start_soon(server.drain)
                await trio.lowlevel.checkpoint()
                response = await crowd.be_turned_away()
        assert (response.status, response.headers["retry-after"], response.headers["connection"]) == (503, "5", "close")
        with pytest.raises(OSError):
            await trio.open_tcp_stream("127.0.0.1", port)
    assert crowd.goodbyes == {(1001, "last words heard"): CLIENTS // 2, ("1", "last words heard"): CLIENTS // 2}
    assert busy.reasons == {"server shutting down": CLIENTS}
    assert server.engine.clients_count == 0
    assert not failures(caplog)
