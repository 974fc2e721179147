"""What an instrument is told of sockets, events and the bus, for those who tell it: they are below `Socket`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar

from ..engine.instrument import SessionInstrument

if TYPE_CHECKING:
    from .target import Target

__all__ = ["AckOutcome", "EventOutcome", "SocketInstrument"]

S = TypeVar("S")

EventOutcome = Literal["ok", "failed", "refused", "unknown", "cancelled"]
AckOutcome = Literal["answered", "timeout", "disconnected", "failed", "cancelled"]

_NOTHING: Final[AbstractContextManager[None]] = nullcontext()


class SocketInstrument(SessionInstrument, Generic[S]):
    """The part of `Instrument` that namespaces and the cluster call; ``S`` is `Socket`."""

    # Sockets: each that has joined has left once; one that was refused has not joined.

    def socket_joined(self, socket: S) -> None:
        """Learn that a socket is connected: CONNECT is on its way, and its connection hook is about to run."""

    def socket_left(self, socket: S, reason: str) -> None:
        """Learn that a socket takes part no longer; its disconnection hooks are about to run.

        Args:
          socket: The socket. ``socket.rooms`` are those that it was in.
          reason: What these hooks get, one of `DisconnectReason`.
        """

    def socket_refused(self, namespace: str, reason: str, socket: S | None) -> None:
        """Learn that a client was not let into a namespace, or went before that was decided.

        Args:
          namespace: Its name, as the client says it.
          reason: What the client was told, in words of the application's where it raises `ConnectionRefused`; or why it went.
          socket: The socket that would have been connected; ``None``: there is no such namespace.
        """

    def room_joined(self, socket: S, room: str) -> None:
        """Learn that a socket is in a room; the one that is named by its id goes without saying."""

    def room_left(self, socket: S, room: str) -> None:
        """Learn that it is in that room no longer; at its end, before `socket_left`, of each that it was in."""

    def connecting(self, socket: S) -> AbstractContextManager[object]:
        """Surround what connects a client: middleware and connection hooks."""
        return _NOTHING

    def disconnecting(self, socket: S, reason: str) -> AbstractContextManager[object]:
        """Surround the disconnection hooks."""
        return _NOTHING

    # Events of clients: each that is received is handled once or refused once.

    def event_received(self, socket: S, event: str, args: Sequence[Any], size: int) -> None:
        """Learn that a client has sent an event, as soon as it is decoded; it may still have to wait for its turn.

        Args:
          socket: Whose it is.
          event: Its name: of the client's choosing, as long as nobody has looked whether there is a handler.
          args: Its arguments, as they came.
          size: Bytes of payload, attachments included.
        """

    def handling(self, socket: S, event: str, args: Sequence[Any]) -> AbstractContextManager[object]:
        """Surround middleware and handler of one event, in their own task where they have one."""
        return _NOTHING

    def event_handled(self, socket: S, event: str, seconds: float, outcome: EventOutcome, error: BaseException | None) -> None:
        """Learn what came of an event, still within `handling`.

        Args:
          socket: Whose it is.
          event: Its name.
          seconds: For how long middleware and handler ran.
          outcome: ``"ok"``; ``"failed"``: something has raised; ``"refused"``: what the client sent does not fit (`BadMessage`), or
            is not accepted (`ConnectionRefused`, `NoAck`); ``"unknown"``: there is no handler, whether or not the name is then of
            interest to somebody; ``"cancelled"``: the socket ended first.
          error: What was raised, if anything.
        """

    def event_refused(self, socket: S, event: str, reason: str) -> None:
        """Learn that nobody handles an event that was received; ``reason``: why the socket has ended before its turn came."""

    def handler_slow(self, socket: S, event: str | None, seconds: float) -> None:
        """Learn that something has not come back for a second, while others wait for it: what is also a warning in the log.

        Args:
          socket: For which it runs.
          event: The event that it handles; ``None``: it is connection middleware, or a hook.
          seconds: For how long it has run.
        """

    # What is emitted.

    def event_emitted(self, socket: S, event: str, args: Sequence[object], size: int) -> None:
        """Learn that an event was emitted to one socket, and was queued, or dropped as the client has gone.

        Args:
          socket: Who gets it.
          event: Its name.
          args: Its arguments.
          size: Bytes of payload, attachments included.
        """

    def broadcast_emitted(self, namespace: str, event: str, args: Sequence[object], target: Target, count: int, size: int) -> None:
        """Learn that an event was emitted to several sockets, here or on another server (then within `delivering`).

        Args:
          namespace: The name of the namespace.
          event: Its name.
          args: Its arguments.
          target: Whom it is for: ``rooms`` (none: everybody), ``excluded``, ``local``.
          count: How many sockets of this process that is.
          size: Bytes of payload for each of them, attachments included.
        """

    # Acknowledgements that clients are asked for: each that is asked for is settled once.

    def asking(self, namespace: str, event: str, socket: S | None) -> AbstractContextManager[object]:
        """Surround `emit_with_ack`, from before the event is emitted until it returns; ``socket``: see `ack_asked`."""
        return _NOTHING

    def ack_asked(self, namespace: str, event: str, socket: S | None) -> None:
        """Learn that an acknowledgement is asked for; ``socket``: of whom; ``None``: of all to whom it is broadcast."""

    def ack_settled(self, namespace: str, event: str, socket: S | None, seconds: float, outcome: AckOutcome) -> None:
        """Learn that nobody waits for it any more, still within `asking`.

        Args:
          namespace: The name of the namespace.
          event: The event that was to be acknowledged.
          socket: See `ack_asked`.
          seconds: How long that took.
          outcome: ``"answered"``: all have, or there was nobody to; ``"timeout"``; ``"disconnected"``: the client is gone;
            ``"failed"``: it could not be sent, or the answer is not what was declared; ``"cancelled"``: who waited was.
        """

    # Other servers.

    def inject(self, namespace: str, event: str) -> Mapping[str, str] | None:
        """Return what is to travel with a broadcast to the other servers, such as ``traceparent``; called where it is emitted.

        All of it together has at most 16 names and `CARRIED_BYTES` (4,096) bytes; what is more is left out, which the log says.
        Either `broadcast_emitted` or `broadcast_failed` follows, or an acknowledgement that was asked for is settled.
        """
        return None

    def broadcast_failed(self, namespace: str, event: str, error: BaseException) -> None:
        """Learn that a broadcast for which `inject` was called has failed, perhaps behind the clients of this process.

        Args:
          namespace: The name of the namespace.
          event: Its name.
          error: What is raised where it is emitted: it cannot be encoded, or the cluster has failed.
        """

    def delivering(self, namespace: str, event: str, carried: Mapping[str, str]) -> AbstractContextManager[object]:
        """Surround the delivery of a broadcast that came from another server.

        Args:
          namespace: The name of the namespace.
          event: Its name.
          carried: What the instruments there have injected: strings that somebody else has made, so look before you believe them.
        """
        return _NOTHING

    def bus_up(self) -> None:
        """Learn that what is emitted reaches the other servers from now on."""

    def bus_down(self, reason: str) -> None:
        """Learn that it does not; ``reason``: a sentence."""

    def bus_gap(self, reason: str) -> None:
        """Learn that something may not have reached the other servers, or not come from there; see `Cluster.on_gap`."""

    def bus_lag(self, seconds: float) -> None:
        """Learn, every few seconds, how long the bus takes to answer, where it is one that does (Redis)."""
