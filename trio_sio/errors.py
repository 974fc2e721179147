"""Every exception of trio_sio, every disconnect reason, and the one table between them.

Four families:

* what application code raises or catches (`ConnectionRefused`, `NoAck`, `BadMessage`, `Disconnected`, ...),
* mistakes that are found before anything is served (`ConfigurationError`, `RouteError`),
* faults of a peer or of the wire (`ConnectionFault` and below), which end one connection and never leave it,
* what comes from other servers, or does not come (`BusMessageError`, `BusUnavailable`), which no client is told.
"""

from __future__ import annotations

import enum
import logging
from typing import Final, Literal, NamedTuple, TypedDict, TypeVar

__all__ = [
    "OUTCOMES",
    "BadAnswer",
    "BadMessage",
    "BusMessageError",
    "BusUnavailable",
    "ConfigurationError",
    "ConnectFailed",
    "ConnectionFault",
    "ConnectionRefused",
    "ConnectionReset",
    "DecodeError",
    "DisconnectReason",
    "Disconnected",
    "EncodeError",
    "ForcedClose",
    "HeartbeatError",
    "InboxOverflow",
    "InvalidState",
    "Lagged",
    "NoAck",
    "Outcome",
    "PacketError",
    "PingTimeout",
    "ProtocolViolation",
    "RateLimited",
    "Refused",
    "RetryAfter",
    "RouteError",
    "ServerShuttingDown",
    "SlowConsumer",
    "TransportClosed",
    "TransportError",
    "TrioSioError",
    "outcome_of",
    "without_frames",
]


E = TypeVar("E", bound=Exception)


class DisconnectReason(enum.StrEnum):
    """Why a socket was disconnected, in the words of the official server (and three of our own)."""

    CLIENT_NAMESPACE_DISCONNECT = "client namespace disconnect"
    SERVER_NAMESPACE_DISCONNECT = "server namespace disconnect"
    SERVER_SHUTTING_DOWN = "server shutting down"
    PING_TIMEOUT = "ping timeout"
    TRANSPORT_CLOSE = "transport close"
    TRANSPORT_ERROR = "transport error"
    PARSE_ERROR = "parse error"
    FORCED_CLOSE = "forced close"
    SLOW_CONSUMER = "slow consumer"
    INBOX_OVERFLOW = "inbox overflow"
    TOKEN_EXPIRED = "token expired"


class TrioSioError(Exception):
    """The base of every exception that trio_sio defines."""


# What is wrong before anything is served.


class ConfigurationError(TrioSioError, ValueError):
    """A `Config`, `Limits` or `CORS` value cannot be right; the message says what to write instead."""


class RouteError(TrioSioError):
    """A routing table cannot be built; the message names class, method and parameter."""


# What application code raises or catches.


class ConnectionRefused(TrioSioError):
    """Raise it in connection middleware to refuse a client: CONNECT_ERROR with ``message`` and ``data``.

    Args:
      message: What the client sees as ``error.message``.
      data: Any encodable value; what the client sees as ``error.data``. Left out when ``None``.
    """

    def __init__(self, message: str = "Connection refused", data: object = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data


class Refused(ConnectionRefused):
    """Raise it in middleware or a handler to refuse what a client asks for, in words that are for the client.

    A message is acknowledged with ``{"status": "error", "message": ..., "data": ...}``, and nothing is logged above DEBUG. A
    client that connects is refused, as with `ConnectionRefused`.

    Args:
      message: What the client may read.
      data: Any encodable value. Left out when ``None``.
    """

    def __init__(self, message: str = "Refused", data: object = None) -> None:
        super().__init__(message, data)


class RetryAfter(TypedDict):
    """When to ask again.

    Attributes:
      retry_after: In so many seconds.
    """

    retry_after: float


class RateLimited(Refused):
    """A client asks more often than `rate_limit` lets it.

    Args:
      retry_after: The seconds after which it may ask again.
    """

    data: RetryAfter

    def __init__(self, retry_after: float) -> None:
        super().__init__("Too many events", RetryAfter(retry_after=retry_after))
        self.retry_after = retry_after


class BadMessage(TrioSioError):
    """The arguments of a message do not fit the handler's signature.

    Args:
      message: What does not fit, for the client's developer.
      path: Where, as a JSON path such as ``$[1].n``; empty when it is the number of arguments.
    """

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.path = path


class BadAnswer(TrioSioError):
    """What a client answered is not what the event was declared to be answered with (see `server_event`).

    Args:
      message: What does not fit.
      path: Where in the answer, as a JSON path such as ``$.n``.
    """

    def __init__(self, message: str, path: str = "$") -> None:
        super().__init__(message)
        self.message = message
        self.path = path


class NoAck(TrioSioError):
    """Raise it in a handler to leave the acknowledgement out, so that a client with ``retries`` tries again."""


class Disconnected(TrioSioError):
    """The socket is gone, so what was asked of it (an ack, a task, a first packet) cannot happen any more."""


class Lagged(TrioSioError):
    """A task does not receive what it subscribed to as fast as it comes, and has lost some of it.

    Args:
      missed: How many events were lost in this place.
    """

    def __init__(self, missed: int) -> None:
        super().__init__(f'{missed} events were lost, as too many waited: receive faster, raise `size`, or subscribe with lag="drop".')
        self.missed = missed


class ConnectFailed(TrioSioError, ConnectionError):
    """A client could not open a session: nobody answers, or what answers is no such server, or it refuses.

    Args:
      message: What happened, where, and what the server said about it.
      status: The HTTP status that it answered; ``None`` when there was no answer.
      retryable: Whether the same attempt may succeed later.
    """

    def __init__(self, message: str, *, status: int | None = None, retryable: bool = True) -> None:
        super().__init__(message)
        self.status = status
        self.retryable = retryable


class EncodeError(TrioSioError, TypeError):
    """A value cannot be put on the wire; it is raised where the value was given, and nothing was queued."""


# What comes from other servers.


class BusMessageError(TrioSioError):
    """Bytes on the bus that are no message, or that exceed a limit of one; they are dropped, and nothing ends.

    Args:
      kind: What is wrong, for a counter: ``"size"``, ``"format"``, ``"schema"`` or ``"pickle"``.
      message: The same, as a sentence.
    """

    def __init__(self, kind: Literal["size", "format", "schema", "pickle"], message: str) -> None:
        super().__init__(message)
        self.kind = kind


class BusUnavailable(TrioSioError, ConnectionError):
    """What servers reach each other through is not there, or does not answer."""


# What ends one connection. None of these leaves it.


class ConnectionFault(TrioSioError):
    """The base of everything that ends one connection; `OUTCOMES` says with which reason and how loud."""


class PacketError(ConnectionFault):
    """Bytes that are no Engine.IO packet or payload."""


class DecodeError(ConnectionFault):
    """An Engine.IO message that is no Socket.IO packet, or that exceeds a limit of one."""


class InvalidState(ConnectionFault):
    """A packet that is well-formed and out of place, such as a second CONNECT."""


class HeartbeatError(ConnectionFault):
    """The client sent a ping; with Engine.IO 4 only the server does."""


class TransportError(ConnectionFault):
    """The wire broke, or was used against its rules: overlapping polls, an aborted poll, a stalled write."""


class ProtocolViolation(TransportError):
    """The peer broke the rules of RFC 6455; it was told so with a close frame."""


class ConnectionReset(TransportError):
    """The peer, or the network between, dropped the wire without a goodbye."""


class TransportClosed(ConnectionFault):
    """The client closed the wire in one of the allowed ways."""


class PingTimeout(ConnectionFault):
    """No pong within ``ping_timeout``."""


class SlowConsumer(ConnectionFault):
    """The client does not take its packets: the outbox is full, or its oldest packet has waited for too long."""


class InboxOverflow(ConnectionFault):
    """The client sends faster than its handlers run, and is read all the same, because one of them waits for it."""


class ForcedClose(ConnectionFault):
    """The server closed the whole connection."""


class ServerShuttingDown(ConnectionFault):
    """The server drains."""


class Outcome(NamedTuple):
    """What one kind of fault means.

    Attributes:
      reason: What `on_disconnection` hooks see.
      log_level: At which level the end of the connection is logged.
      orderly: Whether what came before it is still handled; otherwise handlers are cancelled at once.
      close_code: The WebSocket close code, or ``None`` for a close frame without one.
      recoverable: Whether the client may come back to its sessions (`Config.connection_state_recovery`): after losing the
        connection, not after breaking the rules.
    """

    reason: DisconnectReason
    log_level: int
    orderly: bool
    close_code: int | None = None
    recoverable: bool = False


OUTCOMES: Final[dict[type[ConnectionFault], Outcome]] = {
    PacketError: Outcome(DisconnectReason.PARSE_ERROR, logging.INFO, orderly=True),
    DecodeError: Outcome(DisconnectReason.FORCED_CLOSE, logging.INFO, orderly=True),
    InvalidState: Outcome(DisconnectReason.FORCED_CLOSE, logging.INFO, orderly=True),
    HeartbeatError: Outcome(DisconnectReason.TRANSPORT_ERROR, logging.INFO, orderly=True),
    TransportError: Outcome(DisconnectReason.TRANSPORT_ERROR, logging.DEBUG, orderly=False, recoverable=True),
    ProtocolViolation: Outcome(DisconnectReason.TRANSPORT_ERROR, logging.INFO, orderly=True),
    ConnectionReset: Outcome(DisconnectReason.TRANSPORT_CLOSE, logging.DEBUG, orderly=False, recoverable=True),
    TransportClosed: Outcome(DisconnectReason.TRANSPORT_CLOSE, logging.DEBUG, orderly=True, recoverable=True),
    PingTimeout: Outcome(DisconnectReason.PING_TIMEOUT, logging.DEBUG, orderly=False, recoverable=True),
    SlowConsumer: Outcome(DisconnectReason.SLOW_CONSUMER, logging.INFO, orderly=False, recoverable=True),
    InboxOverflow: Outcome(DisconnectReason.INBOX_OVERFLOW, logging.INFO, orderly=False),
    ForcedClose: Outcome(DisconnectReason.FORCED_CLOSE, logging.DEBUG, orderly=False),
    ServerShuttingDown: Outcome(DisconnectReason.SERVER_SHUTTING_DOWN, logging.DEBUG, orderly=False, close_code=1001, recoverable=True),
}


def outcome_of(fault: ConnectionFault) -> Outcome:
    """Return what ``fault`` means; a subclass means what its nearest listed ancestor does."""
    for kind in type(fault).__mro__:
        if kind in OUTCOMES:
            return OUTCOMES[kind]
    raise AssertionError(f"{type(fault).__name__} has no row in OUTCOMES")


def without_frames(error: E) -> E:
    """Return ``error`` without its traceback and what led to it, for who keeps it.

    Nobody prints them, and their frames would keep whatever they belong to in memory, the keeper among it.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
