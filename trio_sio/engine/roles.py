"""What a session stands between: its receiver above, and below it the transport that carries it at the moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from .states import TransportState

if TYPE_CHECKING:
    import trio

    from ..errors import ConnectionFault
    from .door import MessageSink

__all__ = ["NO_RECEIVER", "NO_TRANSPORT", "Receiver", "RunnableTransport", "Transport"]


class Receiver(Protocol):
    """What a session's messages are for: Socket.IO, or a plain Engine.IO handler."""

    def text(self, payload: bytes) -> None:
        """Take a text message. Synchronous; may raise a `ConnectionFault`, which ends the connection."""

    def binary(self, payload: bytes) -> None:
        """Take a binary message, like `text`."""

    def withdraw(self) -> None:
        """Be none of those who hear what is sent to many: the session is about to end, together with all others."""

    def ended(self, fault: ConnectionFault) -> None:
        """Learn, exactly once, that nothing more will arrive and that nothing sent from now on will leave."""


class Transport(Protocol):
    """What carries a session at the moment."""

    @property
    def state(self) -> TransportState:
        """Which of them it is; it never changes."""

    @property
    def notify(self) -> Callable[[], None]:
        """What an outbox calls when it is not empty any more."""

    def accept(self, accepting: bool) -> None:
        """Receive, or leave what arrives in the network."""

    def is_moving(self) -> bool:
        """Tell whether a message is on its way, in or out, and has come on since the last call."""

    def end(self, fault: ConnectionFault, *, linger: float) -> bool:
        """Say goodbye in this transport's way; tell whether the session can be forgotten now.

        If not, the transport calls `Connection.said_goodbye` later. For ``linger`` seconds what is queued should also
        reach a client that has no request pending.
        """

    def hurry(self, linger: float) -> None:
        """After an `end` with ``linger``: wait for ``linger`` seconds only, as the server stops."""

    def forget(self) -> None:
        """Wait for nothing any more: the session is over."""


class RunnableTransport(Protocol):
    """A transport whose wire can be run in the nursery of the session that was born on it."""

    async def run(self, nursery: trio.Nursery, sink: MessageSink, ended: Callable[[ConnectionFault], None]) -> None:
        """Read until the wire ends, tell why, and let the last words out; see `WebSocketTransport.run`."""


class _NoReceiver:
    """The receiver of a session that is over."""

    def text(self, payload: bytes) -> None:
        """Drop it."""

    binary = text

    def withdraw(self) -> None:
        """Do nothing: it has ended."""

    def ended(self, fault: ConnectionFault) -> None:
        """Tell nobody."""


class _NoTransport:
    """The transport of a session that has none: it is over, or about to be opened."""

    def __init__(self, state: TransportState) -> None:
        self.state = state

    def notify(self) -> None:
        """Tell nobody."""

    def accept(self, accepting: bool) -> None:
        """Receive nothing in any case."""

    def is_moving(self) -> bool:
        """Nothing is."""
        return False

    def end(self, fault: ConnectionFault, *, linger: float) -> bool:
        """Say nothing more."""
        return True

    def hurry(self, linger: float) -> None:
        """Nothing is waited for."""

    def forget(self) -> None:
        """Nothing is waited for."""


NO_RECEIVER: Final = _NoReceiver()
NO_TRANSPORT: Final = {state: _NoTransport(state) for state in TransportState}
