"""How much anybody may take: `Limits`. The bottom of the package, next to its errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .fields import explains_unknown_names, require_number

__all__ = ["CARRIED_BYTES", "CARRIED_NAMES", "MINUTE", "PROGRESS", "Limits"]

MINUTE: Final = 60.0  # seconds: for so long handshakes of one address are counted, and there is silence behind a warning of a flood
PROGRESS: Final = 1024  # fewer bytes than this of a message, in the time that a wire may stand still, are no progress
CARRIED_NAMES: Final = 16  # what instruments may let travel with one broadcast: so many strings, with names,
CARRIED_BYTES: Final = 4096  # of so many bytes in all


@explains_unknown_names
@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How much one client, or all of them, may take. Every limit is inclusive: n passes, n+1 does not.

    Attributes:
      connections: Open sessions of this server; more get 503 with Retry-After. ``None``: no limit.
      connections_per_address: Open sessions of one address; more get 429 with Retry-After. ``None``: no limit, as a proxy
        or the router of an office is one address; behind a proxy set `Config.trusted_proxies` as well. An IPv6 address
        counts as its /64 network; clients without an address, as on a Unix socket, count as one.
      handshakes_per_address: Handshakes of one address in a minute, which begins with the first of them and counts those
        that are then refused, too; more get 429 with Retry-After. ``None``: no limit. Addresses as above.
      unconnected_sessions: Sessions that have joined no namespace yet, and handshakes that wait for `Config.allow_request`;
        when one more comes, the oldest of them is ended. A client that means it joins within a round trip.
      namespaces_per_connection: Namespaces that one connection may join; one more closes it. Sockets that have left and still
        clean up do not count in that, but while there are more sockets than this with them, the connection is not read.
      rooms_per_socket: Rooms that one socket may be in; one more raises where it joins.
      attachments: Binary attachments of one packet; one more closes the connection, or raises where it is emitted: the official
        clients disconnect at more than 10. (With the msgpack parser there are none.)
      json_depth: Nesting of a JSON or MessagePack payload; deeper closes the connection.
      containers: Lists and dicts in one packet, at every level; one more closes the connection. A megabyte of JSON has more
        only if most of them are empty, or contain one digit, or another list and nothing else. Who raises
        `Config.max_http_buffer_size` for packets of more records has to raise this as well.
      arguments: Arguments of one event; one more closes the connection.
      namespace_length: Characters of a namespace's name; a longer one closes the connection.
      auth_bytes: Bytes of a CONNECT payload (with the msgpack parser of the packet); a larger one closes the connection.
      outbox_packets: Packets that wait for a client; then `Config.slow_consumer` decides.
      outbox_bytes: Bytes that wait for a client; then `Config.slow_consumer` decides.
      outbox_age: Seconds that the oldest packet may wait until a WebSocket, or a poll, takes it; then the client is
        disconnected as a slow consumer, whatever `Config.slow_consumer` says. Sampled four times in that time, so that it
        takes up to a quarter longer, and never less. ``math.inf``: no limit.
      inbox_events: Events of one connection that wait for a handler; then reading stops until half of them were handled. While
        a handler waits for this client (`emit_with_ack`, `once`), reading goes on until four times as many wait; one more
        closes the connection.
      inbox_bytes: Bytes of memory, estimated, that these events take; the last of them may exceed it. Otherwise as ``inbox_events``.
      concurrent_handlers: Handlers marked ``concurrent`` that run at once for one socket; the next one waits.
      header_bytes: Bytes of an HTTP request's head; more gets 431.
      headers: Header fields of an HTTP request; more get 431.
      ws_fragments: Fragments of one WebSocket message; one more closes with 1008.
      failed_upgrades: Probes of one session that may fail; one more closes it.
      dynamic_namespaces: Namespaces made by patterns that are used at once, also by clients that are away and may be
        recovered; one more is refused.
    """

    connections: int | None = None
    connections_per_address: int | None = None
    handshakes_per_address: int | None = None
    unconnected_sessions: int = 10_000
    namespaces_per_connection: int = 100
    rooms_per_socket: int = 10_000
    attachments: int = 10
    json_depth: int = 512
    containers: int = 200_000
    arguments: int = 1_024
    namespace_length: int = 255
    auth_bytes: int = 64 * 1024
    outbox_packets: int = 4_096
    outbox_bytes: int = 4 * 1024 * 1024
    outbox_age: float = 60
    inbox_events: int = 256
    inbox_bytes: int = 4 * 1024 * 1024
    concurrent_handlers: int = 32
    header_bytes: int = 16 * 1024
    headers: int = 100
    ws_fragments: int = 4_096
    failed_upgrades: int = 10
    dynamic_namespaces: int = 10_000

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if value is None and name in ("connections", "connections_per_address", "handshakes_per_address"):
                continue
            require_number("Limits", name, value, minimum=1, integer=name != "outbox_age")
