"""A Socket.IO client for tests: one WebSocket over any stream, one `StrictSocket` per namespace.

It speaks the protocol through `trio_sio.protocol`, answers pings, and keeps every event until the test asks for it. It
is strict: a packet that no correct server sends fails the test.
"""

from __future__ import annotations

import inspect
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlencode

import trio

from ..client.events import Event
from ..concurrency.functions import fault_of_handler
from ..concurrency.unwrapping import unwrapping
from ..errors import ConnectionRefused, Disconnected
from ..limits import Limits
from ..protocol.frames import EncodedPacket
from ..protocol.parsers import PARSERS
from ..protocol.socketio import Packet, PacketType
from .raw import RawWebSocket, WebSocketClosed

__all__ = ["Ended", "StrictConnection", "StrictSocket", "open_strict_client"]

# Longer than every time-out of the default Config: with a mock clock it costs nothing, and without one a test that
# waits for what never comes ends at last, with a sentence that says for what it waited.
PATIENCE: Final = 120.0

_CLOSE_TIMEOUT: Final = 5.0
_EVENTS_KEPT: Final = 10_000

# A server may send what it would not take.
_LIMITS: Final = Limits(attachments=10_000, arguments=100_000, json_depth=10_000, containers=10_000_000)
_MAX_BYTES: Final = 1 << 30


class Ended(NamedTuple):
    """How a socket came to its end.

    Attributes:
      disconnected: Whether a DISCONNECT packet said so, of either side.
      close_code: The close code of the whole connection, as in `WebSocketClosed`; ``None`` while it is open.
    """

    disconnected: bool
    close_code: int | None


@asynccontextmanager
async def open_strict_client(
    stream: trio.abc.Stream,
    namespace: str = "/",
    auth: Mapping[str, object] | None = None,
    *,
    path: str = "/socket.io",
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    parser: Literal["json", "msgpack"] = "json",
    answer_pings: bool = True,
) -> AsyncIterator[StrictSocket]:
    """Connect over ``stream``, join ``namespace`` and yield its socket; leaving closes the connection.

    Args:
      stream: The wire; it is closed at the end.
      namespace: The first namespace; `StrictConnection.join` joins more.
      auth: The CONNECT payload.
      path: The server's ``Config.path``.
      query: Query parameters besides those of Engine.IO.
      headers: Header fields of the handshake.
      parser: The server's ``Config.parser``.
      answer_pings: Whether pings are answered; `StrictConnection.answer_pings` changes it later.

    Raises:
      ConnectionRefused: if the server answers with CONNECT_ERROR.
      UpgradeRefused: if it refuses the WebSocket.
      Disconnected: if it closes before it answers.
    """
    with unwrapping() as body:
        async with trio.open_nursery() as nursery:
            with body:
                try:
                    parameters = {**(query or {}), "EIO": "4", "transport": "websocket"}
                    websocket = await RawWebSocket.open(stream, f"{path.rstrip('/')}/?{urlencode(parameters)}", headers=headers)
                    connection = StrictConnection(websocket, nursery, parser=parser, answer_pings=answer_pings)
                    await connection.start()
                    yield await connection.join(namespace, auth)
                    await connection.close()
                finally:
                    await trio.aclose_forcefully(stream)
                    nursery.cancel_scope.cancel()


class StrictConnection:
    """One Engine.IO session over a WebSocket, with the sockets that share it.

    Attributes:
      websocket: The wire; sending on it is fine, receiving is this object's business.
      handshake: The open packet's payload: ``sid``, ``pingInterval`` and so on.
      parser: How packets are written.
      answer_pings: Whether pings are answered.
      close_code: The close code once the connection is over, as in `WebSocketClosed`.
    """

    def __init__(
        self, websocket: RawWebSocket, nursery: trio.Nursery, *, parser: Literal["json", "msgpack"] = "json", answer_pings: bool = True
    ) -> None:
        self.websocket = websocket
        self.answer_pings = answer_pings
        self.handshake: dict[str, Any] = {}
        self.close_code: int | None = None
        self.sockets: dict[str, StrictSocket] = {}
        self.nursery = nursery
        self.parser = PARSERS[parser]
        self._decoder = self.parser.decoder(_LIMITS, _MAX_BYTES)
        self._sending = trio.StrictFIFOLock()
        self._over = trio.Event()

    async def start(self) -> None:
        """Wait for the open packet, then receive in the background."""
        try:
            opened = await self.websocket.receive()
        except WebSocketClosed as closed:
            raise Disconnected(f"The server closed the connection before the open packet, with code {closed.code}.") from closed
        if not (isinstance(opened, str) and opened.startswith("0")):
            raise AssertionError(f"The server began with {opened!r} instead of the open packet.")
        self.handshake = json.loads(opened[1:])
        self.nursery.start_soon(self._receive)

    async def join(self, namespace: str = "/", auth: Mapping[str, object] | None = None) -> StrictSocket:
        """Join a namespace on this connection.

        Raises:
          ConnectionRefused: if the server answers with CONNECT_ERROR.
          Disconnected: if it closes the connection instead.
        """
        socket = self.sockets[namespace] = StrictSocket(self, namespace)
        await socket._send(self.parser.encode_connect(namespace, auth))
        await socket._wait_joined()
        return socket

    async def send(self, *messages: str | bytes) -> None:
        """Send Engine.IO messages as they are, nothing else between them: ``send("41")``.

        Raises:
          Disconnected: if the connection is over.
        """
        async with self._sending:
            try:
                for message in messages:
                    await self.websocket.send(message)
            except (WebSocketClosed, trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise Disconnected(f"The connection is over (close code {self.websocket.close_code}), so nothing can be sent.") from error

    async def close(self, code: int | None = 1000) -> int:
        """Close the WebSocket with ``code`` and return the code that the server answered.

        Raises:
          trio.TooSlowError: if it does not answer.
        """
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.websocket.start_close(code)
        return await self.closed(timeout=_CLOSE_TIMEOUT)

    async def abort(self) -> None:
        """Drop the wire without a word, as a client does that loses its network."""
        await trio.aclose_forcefully(self.websocket.stream)
        await self._over.wait()

    async def closed(self, timeout: float = PATIENCE) -> int:
        """Wait until the connection is over and return its close code, as in `WebSocketClosed`."""
        with _deadline("The end of the connection", timeout):
            await self._over.wait()
        assert self.close_code is not None
        return self.close_code

    async def _receive(self) -> None:
        try:
            while True:
                await self._take(await self.websocket.receive())
        except WebSocketClosed as closed:
            self.close_code = closed.code
        except trio.ClosedResourceError:
            self.close_code = 1006
        self._over.set()
        for socket in self.sockets.values():
            socket._end(disconnected=False)

    async def _take(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            packet = self._decoder.binary(message)
        elif message.startswith("4"):
            packet = self._decoder.text(message[1:].encode())
        elif message == "2":
            if self.answer_pings:
                await self._answer("3")
            return
        else:
            raise AssertionError(f"The server sent {message!r}, which has no place in a session that began as a WebSocket.")
        if packet is not None:
            if packet.namespace not in self.sockets:
                raise AssertionError(f"The server sent {packet!r} for a namespace that this client never joined.")
            await self.sockets[packet.namespace]._take(packet)

    async def _answer(self, *messages: str | bytes) -> None:
        """Send unless the connection is over by now; then receiving is what tells it."""
        with suppress(Disconnected):
            await self.send(*messages)


class StrictSocket:
    """One namespace of a `StrictConnection`.

    Every wait ends with `Disconnected` when the socket does, and with `trio.TooSlowError` after its ``timeout``.

    Attributes:
      connection: What it shares with the connection's other sockets.
      namespace: Its namespace's name.
      id: Its id, from the server.
      pid: What it comes back with, where the server keeps its state (`Config.connection_state_recovery`).
      connected: Whether it has joined, and has not ended.
    """

    def __init__(self, connection: StrictConnection, namespace: str) -> None:
        self.connection = connection
        self.namespace = namespace
        self.id = ""
        self.pid: str | None = None
        self.connected = False
        self._disconnected = False
        self._refusal: ConnectionRefused | None = None
        self._events: deque[Event] = deque()
        self._handlers: dict[str, Callable[..., object]] = {}
        self._ids = 0
        self._answers: dict[int, tuple[Any, ...] | None] = {}
        self._given_up: set[int] = set()
        self._news = trio.Event()

    @property
    def pending(self) -> tuple[Event, ...]:
        """The events that have arrived and that nobody took yet, oldest first."""
        return tuple(self._events)

    async def emit(self, event: str, *args: object) -> None:
        """Send an event.

        Raises:
          EncodeError: if a value cannot be encoded, or the name is reserved.
          Disconnected: if the connection is over.
        """
        await self._send(self.connection.parser.encode_event(self.namespace, (event, *args)))

    async def emit_with_ack(self, event: str, *args: object, timeout: float = PATIENCE) -> Any:
        """Send an event and return what the server acknowledges: one value, a tuple of several, ``None`` for none."""
        number, self._ids = self._ids, self._ids + 1
        self._answers[number] = None
        try:
            await self._send(self.connection.parser.encode_event(self.namespace, (event, *args), number))
            with _deadline(f"The acknowledgement of {event!r}", timeout):
                while (values := self._answers[number]) is None:
                    await self._wait_news()
        finally:
            if self._answers.pop(number) is None:
                self._given_up.add(number)
        return values[0] if len(values) == 1 else values or None

    async def once(self, event: str, timeout: float = PATIENCE) -> tuple[Any, ...]:
        """Return the arguments of the next event of that name, also if it arrived before this call."""
        with _deadline(f"The event {event!r}", timeout):
            while True:
                for received in self._events:
                    if received.name == event:
                        self._events.remove(received)
                        return received.args
                await self._wait_news()

    async def receive(self, timeout: float = PATIENCE) -> Event:
        """Return the next event, whatever its name."""
        with _deadline("An event", timeout):
            while not self._events:
                await self._wait_news()
        return self._events.popleft()

    def on(self, event: str, handler: Callable[..., object]) -> None:
        """Call ``handler`` with the arguments of every such event instead of keeping it; what it returns is the ack.

        A tuple acknowledges several values. A function runs before the next packet is looked at, an async function in
        a task of its own. What it raises fails the test.

        Raises:
          TypeError: if it is no function, or a generator function.
        """
        if (fault := fault_of_handler(handler)) is not None:
            raise TypeError(f"{fault}, so it cannot handle events; write it with `def` or `async def`.")
        self._handlers[event] = handler

    async def disconnect(self) -> None:
        """Leave the namespace with a DISCONNECT packet; the connection stays open."""
        self._end(disconnected=True)
        await self._send(self.connection.parser.encode_disconnect(self.namespace))

    async def closed(self, timeout: float = PATIENCE) -> Ended:
        """Wait until the socket has ended and return how."""
        with _deadline(f"The end of the socket in {self.namespace!r}", timeout):
            while self.connected:
                await self._news.wait()
        return Ended(self._disconnected, self.connection.close_code)

    async def _send(self, packet: EncodedPacket) -> None:
        await self.connection.send(*packet.messages())

    async def _wait_joined(self) -> None:
        with _deadline(f"The answer to CONNECT for {self.namespace!r}", PATIENCE):
            # Not `connected`: a DISCONNECT may have come right behind the answer.
            while not self.id:
                if self._refusal is not None:
                    raise self._refusal
                if self.connection.close_code is not None:
                    raise Disconnected(f"The server closed the connection with code {self.connection.close_code} instead of joining.")
                await self._news.wait()

    async def _wait_news(self) -> None:
        if not self.connected:
            raise Disconnected(f"The socket in {self.namespace!r} has ended: {Ended(self._disconnected, self.connection.close_code)}.")
        await self._news.wait()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    def _end(self, *, disconnected: bool) -> None:
        self.connected = False
        self._disconnected = self._disconnected or disconnected
        self._tell()

    async def _take(self, packet: Packet) -> None:
        match packet.type:
            case PacketType.CONNECT:
                self.id, self.pid = packet.data["sid"], packet.data.get("pid")
                self.connected = True
            case PacketType.CONNECT_ERROR:
                self._refusal = ConnectionRefused(packet.data["message"], packet.data.get("data"))
            case PacketType.DISCONNECT:
                self._end(disconnected=True)
            case PacketType.ACK:
                self._take_ack(packet.id, packet.data)
            case PacketType.EVENT:
                await self._take_event(packet)
        self._tell()

    def _take_ack(self, number: int | None, values: Sequence[Any]) -> None:
        if number in self._given_up:
            self._given_up.remove(number)
        elif number is not None and number in self._answers and self._answers[number] is None:
            self._answers[number] = tuple(values)
        elif self.connected:
            raise AssertionError(f"The server acknowledged number {number}, which is not waiting for an acknowledgement (any more).")

    async def _take_event(self, packet: Packet) -> None:
        name, *args = packet.data
        if name in self._handlers:
            result = self._handlers[name](*args)
            if inspect.isawaitable(result):
                self.connection.nursery.start_soon(self._handle, result, packet.id)
            else:
                await self._acknowledge(packet.id, result)
        elif len(self._events) == _EVENTS_KEPT:
            raise AssertionError(f"The test client keeps {_EVENTS_KEPT} events that nobody took; take them, or use a raw client.")
        elif not self._disconnected:
            self._events.append(Event(name, tuple(args)))

    async def _handle(self, result: Awaitable[object], number: int | None) -> None:
        await self._acknowledge(number, await result)

    async def _acknowledge(self, number: int | None, result: object) -> None:
        if number is not None:
            values = result if isinstance(result, tuple) else (result,)
            await self.connection._answer(*self.connection.parser.encode_ack(self.namespace, number, values).messages())


@contextmanager
def _deadline(what: str, timeout: float) -> Iterator[None]:
    with trio.move_on_after(timeout) as scope:
        yield
    if scope.cancelled_caught:
        raise trio.TooSlowError(f"{what} did not come within {timeout:g} seconds.")
