"""Which transport carries a session: `open_transport` tries one after the other, and `Move` takes a session to a WebSocket."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Final, NamedTuple, Protocol

import trio

from ..config import TransportName
from ..errors import ConfigurationError, ConnectFailed, ConnectionFault, PacketError, TransportError, without_frames
from ..log import get_logger
from ..protocol.engineio import Handshake, parse_open_packet
from ..protocol.frames import EncodedPacket
from .polling import PollingTransport
from .stream import Progress
from .target import Target
from .websocket import WebSocketTransport

__all__ = ["Move", "Opened", "Transport", "open_transport"]

logger = get_logger("trio_sio.client")

_PROBE: Final = EncodedPacket(b"2probe")
_UPGRADE: Final = EncodedPacket(b"5")

# Seconds for the one packet that must not be cancelled half-way: nobody would know which transport carries the session.
_DECISION: Final = 1.0


class Transport(Protocol):
    """What carries a session: `PollingTransport` or `WebSocketTransport`. Its methods raise a `ConnectionFault` when it breaks."""

    name: TransportName
    says_goodbye_back: bool
    """Whether `say_goodbye` is answered, so that `receive` comes to an end."""
    progress: Progress
    """Of the message, or the response, that is being received."""

    @property
    def owes_pong(self) -> bool:
        """Whether a pong of its own waits for the next `send`."""

    @property
    def owes_close(self) -> bool:
        """Whether a server that is done wants to be told that we are, by `say_goodbye`."""

    async def open(self) -> Iterator[str | bytes]:
        """Open a session, and return the packets that came with that; may raise `ConnectFailed`."""

    def opened(self, handshake: Handshake) -> None:
        """Learn what the server has said about the session."""

    async def receive(self) -> Iterable[str | bytes]:
        """Wait for packets: text with the type digit, or a binary message."""

    async def send(self, packets: Sequence[EncodedPacket]) -> None:
        """Send packets."""

    async def say_goodbye(self) -> None:
        """Tell the server that the session is over."""

    async def aclose(self) -> None:
        """Close every connection at once."""


class Opened(NamedTuple):
    """A session that was opened: what carries it, what the server says about it, and the packets that came with that."""

    transport: Transport
    handshake: Handshake
    packets: Iterator[str | bytes]


_TRANSPORTS: Final[dict[str, type[PollingTransport] | type[WebSocketTransport]]] = {
    "polling": PollingTransport,
    "websocket": WebSocketTransport,
}


async def open_transport(target: Target, transports: Sequence[TransportName], max_message_size: int, timeout: float) -> Opened:
    """Open a session on the first of ``transports`` on which that succeeds; a refusal (4xx) is final.

    Raises:
      ConfigurationError: if there is no transport to try.
      ConnectFailed: if none opens.
    """
    if not transports or set(transports) - set(_TRANSPORTS):
        raise ConfigurationError(f'transports is {transports!r}; choose from ("polling", "websocket").')
    deadline = trio.current_time() + timeout
    failures: list[ConnectFailed] = []
    for number, name in enumerate(transports):
        # So that one that hangs leaves time for the next.
        share = (deadline - trio.current_time()) / (len(transports) - number)
        try:
            with trio.fail_after(max(0, share)):
                return await _open(_TRANSPORTS[name](target, max_message_size), target)
        except trio.TooSlowError:
            failures.append(ConnectFailed(f"{target.description} did not answer the {name} handshake within {share:g} seconds."))
        except ConnectFailed as failure:
            failures.append(failure)
            if not failure.retryable or (failure.status is not None and 400 <= failure.status < 500):
                break
    last = failures[-1]
    if len(failures) == 1:
        raise last
    # The last one decides whether to try again: the others gave way to it.
    raise ConnectFailed(" ".join(dict.fromkeys(map(str, failures))), status=last.status, retryable=last.retryable)


async def _open(transport: Transport, target: Target) -> Opened:
    opened = False
    try:
        packets = await transport.open()
        handshake = parse_open_packet(next(packets))
        transport.opened(handshake)
        opened = True
    except PacketError as fault:
        raise ConnectFailed(f"{target.description} is no Socket.IO server that this client can talk to. {fault}") from fault
    except ConnectionFault as fault:
        raise ConnectFailed(f"{target.description} did not answer the {transport.name} handshake: {fault}.") from fault
    finally:
        if not opened:
            await transport.aclose()
    return Opened(transport, handshake, packets)


class Moving(Protocol):
    """A session, as what moves it sees it."""

    handshake: Handshake

    def quiet(self) -> AbstractAsyncContextManager[None]:
        """Wait until no poll and no write is under way, and let none begin."""

    async def move(self, transport: Transport) -> None:
        """Go on with another transport; while it is `quiet`."""


class Move:
    """One attempt to move a polling session to a WebSocket (Engine.IO protocol, "Upgrade"; Node: ``Socket._probe``).

    A WebSocket is opened beside the polls and probed. When it answers, polling is made quiet: the server lets go of the poll
    that waits, the packets of its answer are taken like those of every other, and no further request begins. Then ``5`` goes
    out on the WebSocket, and both directions go on there. So a packet is sent, and received, on exactly one of the two.
    Whatever goes wrong before that leaves polling as it was.

    Args:
      target: Where to.
      max_message_size: The largest message, in bytes.
      timeout: Seconds for all of it.
    """

    def __init__(self, target: Target, max_message_size: int, timeout: float) -> None:
        self._websocket = WebSocketTransport(target, max_message_size)
        self._timeout = timeout
        self._fault: ConnectionFault | None = None

    async def run(self, session: Moving) -> None:
        """Move ``session`` if the server can; otherwise leave it as it is."""
        websocket, handshake = self._websocket, session.handshake
        moved = False
        with trio.move_on_after(self._timeout):
            try:
                await websocket.connect(handshake.sid)
                websocket.opened(handshake)
                await self._probe()
                async with AsyncExitStack() as quiet:
                    await self._make_quiet(session, quiet)
                    with trio.move_on_after(_DECISION, shield=True):
                        await websocket.send([_UPGRADE])
                        moved = True
                        await session.move(websocket)
            except (ConnectFailed, ConnectionFault) as fault:
                logger.debug("The session %r stays with polling: %s", handshake.sid, without_frames(fault))
            finally:
                if not moved:
                    await websocket.aclose()

    async def _probe(self) -> None:
        await self._websocket.send([_PROBE])
        while not (received := list(await self._websocket.receive())):
            if self._websocket.owes_pong:
                await self._websocket.send([])
        if received != ["3probe"]:
            raise TransportError(f"the server answered the probe with {str(received[0])[:20]!r}")

    async def _make_quiet(self, session: Moving, quiet: AsyncExitStack) -> None:
        """Let no poll and no write be under way until ``quiet`` is closed.

        Raises:
          ConnectionFault: if the WebSocket fails meanwhile: a server waits for ``5`` only so long.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, nursery.cancel_scope)
            await quiet.enter_async_context(session.quiet())
            nursery.cancel_scope.cancel()
        if self._fault is not None:
            raise self._fault

    async def _watch(self, waiting: trio.CancelScope) -> None:
        try:
            while not (received := list(await self._websocket.receive())):
                pass
            self._fault = TransportError(f"the server sent {str(received[0])[:20]!r} before it was told that the session has moved")
        except ConnectionFault as fault:
            self._fault = fault
        waiting.cancel()
