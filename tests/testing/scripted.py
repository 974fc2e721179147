"""The other end of a client under test: a WebSocket server that does what the test says, and nothing by itself."""

from __future__ import annotations

import trio
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

OPEN_PACKET = '0{"sid":"engine-id","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'


class ScriptedServer:
    """One connection of it.

    Attributes:
      request: The handshake's request, once accepted.
      close_code: The code of the client's close frame.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.request: Request | None = None
        self.close_code: int | None = None
        self._protocol = ServerProtocol(max_size=None)
        self._messages: list[str | bytes] = []

    async def accept(self) -> Request:
        """Take the handshake, answer 101 and return the request."""
        while self.request is None:
            await self._step()
        return self.request

    async def accept_session(self, *connects: str) -> None:
        """Take the handshake, send the open packet and answer one CONNECT with each of ``connects``."""
        await self.accept()
        await self.send(OPEN_PACKET)
        await self.answer_connects(*connects)

    async def answer_connects(self, *connects: str) -> None:
        """Answer one CONNECT with each of ``connects``."""
        for connect in connects:
            await self.receive()
            await self.send(connect)

    async def receive(self) -> str | bytes:
        """Return the client's next message."""
        while not self._messages:
            if self._protocol.state is State.CLOSED:
                raise AssertionError("The client closed instead of sending a message.")
            await self._step()
        return self._messages.pop(0)

    async def receive_close(self) -> int | None:
        """Return the code with which the client closes; `None` when it drops the connection, or the server has closed."""
        while self.close_code is None and self._protocol.close_sent is None and self._protocol.state is not State.CLOSED:
            await self._step()
        return self.close_code

    async def send(self, *messages: str | bytes) -> None:
        for message in messages:
            if isinstance(message, str):
                self._protocol.send_text(message.encode())
            else:
                self._protocol.send_binary(message)
        await self._flush()

    async def ping(self, payload: bytes) -> None:
        self._protocol.send_ping(payload)
        await self._flush()

    async def close(self, code: int | None = None) -> None:
        """Send a close frame and end the connection."""
        self._protocol.send_close(code)
        await self._flush()
        await self.stream.aclose()

    async def _step(self) -> None:
        data = await self.stream.receive_some()
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self.request = event
                self._protocol.send_response(self._protocol.accept(event))
            else:
                assert isinstance(event, Frame)
                self._take(event)
        await self._flush()

    def _take(self, frame: Frame) -> None:
        if frame.opcode is Opcode.TEXT:
            self._messages.append(bytes(frame.data).decode())
        elif frame.opcode is Opcode.BINARY:
            self._messages.append(bytes(frame.data))
        elif frame.opcode is Opcode.PONG:
            self._messages.append(b"pong " + bytes(frame.data))
        else:
            assert self._protocol.close_rcvd is not None
            self.close_code = self._protocol.close_rcvd.code

    async def _flush(self) -> None:
        data = b"".join(self._protocol.data_to_send())
        if data:
            await self.stream.send_all(data)
