"""Clients on real sockets that talk until the server says goodbye, on every transport: for a server in another process."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from typing import Final

import trio

from trio_sio.testing import HttpResponse, RawHttp, RawWebSocket, WebSocketClosed

__all__ = ["Crowd", "Member"]

HANDSHAKES_AT_ONCE: Final = 64
PAUSE: Final = 1.0  # seconds between an answer and the next event: without it a thousand are more than two cores can serve
NO_STATUS: Final = 1005  # of a close frame without a status, as a probing WebSocket gets it


class Member:
    """One client.

    Attributes:
      answered: The numbers of the events that the server has acknowledged.
      goodbye: How it was told that all is over: a close code, or a close packet on polling.
      stray: What it received that no correct server sends here.
    """

    def __init__(self, crowd: Crowd, name: str) -> None:
        self.name = name
        self.answered: set[int] = set()
        self.goodbye: object = None
        self.stray: list[str] = []
        self._crowd = crowd
        self._said = 0
        self._target = "/socket.io/?EIO=4&transport=polling"
        self._idle: list[RawHttp] = []
        self._streams: list[trio.SocketStream] = []

    async def live(self, kind: str) -> None:
        """Be a client of this kind, until it is over."""
        try:
            await getattr(self, kind)()
        finally:
            for stream in self._streams:
                stream.socket.close()

    async def websocket(self) -> None:
        """Be a client on a WebSocket."""
        async with await self._open_websocket("/socket.io/?EIO=4&transport=websocket") as websocket:
            await websocket.receive()
            await websocket.send(self._connect_packet())
            await self._talk(websocket)

    async def polling(self) -> None:
        """Be a client that polls."""
        await self._open()
        await self._poll_on()

    async def upgraded(self) -> None:
        """Be a client that began with polling."""
        await self._open()
        async with await self._probe() as websocket, trio.open_nursery() as nursery:
            # The session moves while its poll is pending, as with the official client.
            nursery.start_soon(self._poll)
            await websocket.send("5")
            await websocket.send(self._next_event())
            await self._talk(websocket)

    async def probing(self) -> None:
        """Be a client in the middle of its upgrade: the WebSocket is there, and polling still carries the session."""
        await self._open()
        async with await self._probe() as websocket:
            await self._poll_on()
            try:
                self.stray.append(str(await websocket.receive()))
            except WebSocketClosed as closed:
                self.goodbye = (self.goodbye, closed.code)

    # What they say.

    def _connect_packet(self) -> str:
        return "40" + json.dumps({"name": self.name})

    def _next_event(self) -> str:
        self._said += 1
        return f'42{self._said}["say",{self._said}]'

    def _take(self, packet: str) -> bool:
        """Look at a packet; tell whether the server waits for the next event."""
        if packet == "6":
            return False  # a noop, which may have been meant for a poll that the upgrade has answered already
        if packet.startswith("40"):
            return True
        if packet != f"43{self._said}[{self._said}]":
            self.stray.append(packet)
            return False
        self.answered.add(self._said)
        self._crowd.heard(self)
        return True

    # Their connections.

    async def _connect(self) -> trio.SocketStream:
        stream = await self._crowd.connect()
        self._streams.append(stream)
        return stream

    async def _open_websocket(self, target: str) -> RawWebSocket:
        async with self._crowd.handshakes:
            return await RawWebSocket.open(await self._connect(), target)

    async def _talk(self, websocket: RawWebSocket) -> None:
        async with trio.open_nursery() as nursery:
            try:
                while True:
                    if self._take(str(await websocket.receive())):
                        nursery.start_soon(self._send_next, websocket)
            except WebSocketClosed as closed:
                self.goodbye = closed.code
            nursery.cancel_scope.cancel()

    async def _send_next(self, websocket: RawWebSocket) -> None:
        await trio.sleep(PAUSE)
        # When the goodbye is there already, what came before it is still to be read.
        with suppress(WebSocketClosed, trio.BrokenResourceError):
            await websocket.send(self._next_event())

    async def _probe(self) -> RawWebSocket:
        websocket = await self._open_websocket(self._target.replace("polling", "websocket"))
        await websocket.send("2probe")
        if (answer := await websocket.receive()) != "3probe":
            self.stray.append(str(answer))
        return websocket

    async def _open(self) -> None:
        async with self._crowd.handshakes:
            opened = await self._request("GET")
            self._target += "&sid=" + json.loads(opened.body[1:])["sid"]
            await self._request("POST", self._connect_packet())
            for packet in await self._poll():
                self._take(packet)

    async def _poll(self) -> list[str]:
        return (await self._request("GET")).body.decode().split("\x1e")

    async def _poll_on(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._post_next)
            while self.goodbye is None:
                for packet in await self._poll():
                    if packet == "1":
                        self.goodbye = packet
                    elif self._take(packet):
                        # It polls on meanwhile, as the official client does.
                        nursery.start_soon(self._post_next)
            nursery.cancel_scope.cancel()

    async def _post_next(self) -> None:
        await trio.sleep(PAUSE)
        # When the goodbye is there already, the server may have gone.
        with suppress(OSError):
            await self._request("POST", self._next_event())

    async def _request(self, method: str, body: str = "") -> HttpResponse:
        while True:
            http = self._idle.pop() if self._idle else RawHttp(await self._connect())
            try:
                response = await http.request(method, self._target, body=body)
            except trio.BrokenResourceError:
                continue  # the server ended the idle connection while the request was on its way (RFC 9112, section 9.3.1)
            if http.keep_alive:
                self._idle.append(http)
            return response


class Crowd:
    """Clients of one server.

    Args:
      port: Of the server, on 127.0.0.1.
      sizes: How many clients of each kind: the names of `Member`'s methods.

    Attributes:
      scope: Cancel it, and all leave without a word.
      everybody_talks: Set once each of them was answered.
      members: By kind.
    """

    def __init__(self, port: int, sizes: dict[str, int]) -> None:
        self._port = port
        self._silent: set[Member] = set()
        self.scope = trio.CancelScope()
        self.handshakes = trio.Semaphore(HANDSHAKES_AT_ONCE)
        self.everybody_talks = trio.Event()
        self.members = {kind: [Member(self, f"{kind} {number}") for number in range(size)] for kind, size in sizes.items()}

    def __iter__(self) -> Iterator[Member]:
        """Every member, of whatever kind."""
        return chain.from_iterable(self.members.values())

    async def connect(self) -> trio.SocketStream:
        """Open a TCP connection."""
        return await trio.open_tcp_stream("127.0.0.1", self._port)

    def heard(self, member: Member) -> None:
        """Learn that a member has been answered."""
        if member in self._silent:
            self._silent.remove(member)
            if not self._silent:
                self.everybody_talks.set()

    async def run(self) -> None:
        """Let all talk until all have been told that it is over."""
        self._silent = set(self)
        with self.scope:
            async with trio.open_nursery() as nursery:
                for kind, members in self.members.items():
                    for member in members:
                        nursery.start_soon(member.live, kind)

    def goodbyes(self) -> dict[str, Counter[object]]:
        """Count, by kind, how they were told."""
        return {kind: Counter(member.goodbye for member in members) for kind, members in self.members.items()}
