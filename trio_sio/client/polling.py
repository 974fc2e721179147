"""HTTP long-polling, client side: a GET takes packets, a POST gives packets, each on a connection of its own.

Engine.IO protocol, "HTTP long-polling"; Node's ``Polling`` of engine.io-client.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Self

import trio

from ..config import TransportName
from ..errors import ConnectFailed, PacketError, TransportError
from ..protocol.engineio import CLOSE_PACKET, RECORD_SEPARATOR, decode_payload
from ..protocol.frames import EncodedPacket
from .handshake import Handshake, parse_open_packet
from .http import HttpConnection, HttpResponse, refusal
from .target import Target

__all__ = ["PollingTransport", "payloads"]

_TEXT_SEPARATOR: Final = len(RECORD_SEPARATOR)


class PollingTransport:
    """Carries a session over HTTP requests.

    Args:
      target: Where to.
      max_message_size: The largest response body, in bytes.
    """

    name: TransportName = "polling"
    says_goodbye_back = False
    owes_pong = False
    owes_close = False

    def __init__(self, target: Target, max_message_size: int) -> None:
        self._target = target
        self._polls = HttpConnection(target, max_message_size)
        self._posts = HttpConnection(target, max_message_size)
        self._handshake: Handshake | None = None
        self.progress = self._polls.progress

    @classmethod
    async def open(cls, target: Target, max_message_size: int) -> tuple[Self, Handshake, Iterator[str | bytes]]:
        """Open a session; return its transport, what the server says about it, and the packets that came with that.

        Raises:
          ConnectFailed: if it cannot be opened.
        """
        transport = cls(target, max_message_size)
        try:
            return transport, *await transport._open()
        except BaseException:
            await transport.aclose()
            raise

    async def _open(self) -> tuple[Handshake, Iterator[str | bytes]]:
        try:
            response = await self._polls.request("GET", self._resource())
        except TransportError as fault:
            raise ConnectFailed(f"{self._target.description} did not answer the polling handshake: {fault}.") from fault
        if response.status != 200:
            raise refusal(self._target, "polling", response)
        packets = _packets(response.body)
        try:
            first = next(packets)
        except PacketError as fault:
            raise ConnectFailed(f"What answers at {self._target.description} is no Socket.IO server: {fault}") from fault
        self._handshake = handshake = parse_open_packet(self._target, first)
        self._polls.stall_timeout = self._posts.stall_timeout = handshake.patience
        return handshake, packets

    async def receive(self) -> Iterable[str | bytes]:
        """Wait for packets; they are decoded one by one, as they are taken.

        Raises:
          TransportError: if the poll fails.
          PacketError: while they are taken, at a bad one.
        """
        return _packets((await self._request(self._polls, "GET")).body)

    async def send(self, packets: Sequence[EncodedPacket]) -> None:
        """Send packets, in as many requests as the server's ``maxPayload`` demands, and wait until it has taken them.

        Raises:
          TransportError: if one fails.
        """
        assert self._handshake is not None
        patience = self._handshake.patience
        for body in payloads(packets, self._handshake.max_payload):
            try:
                await self._request(self._posts, "POST", body, patience=patience)
            except trio.TooSlowError:
                raise TransportError(f"the server did not answer a POST within {patience:g} seconds") from None

    async def say_goodbye(self) -> None:
        """Send the close packet."""
        await self.send([CLOSE_PACKET])

    async def aclose(self) -> None:
        """Close the connections at once."""
        try:
            await self._polls.aclose()
        finally:
            await self._posts.aclose()

    async def _request(
        self, connection: HttpConnection, method: str, body: bytes | None = None, *, patience: float = math.inf
    ) -> HttpResponse:
        try:
            response = await connection.request(method, self._resource(), body, patience=patience)
        except ConnectFailed as error:
            raise TransportError(str(error)) from error
        if response.status != 200:
            raise TransportError(f"the server answered a {method} with {response.status}: {response.body[:200]!r}")
        return response

    def _resource(self) -> str:
        # Caches that disregard Cache-Control would answer the same GET twice; the official client defends itself alike.
        parameters = {"t": secrets.token_urlsafe(6)}
        if self._handshake is not None:
            parameters["sid"] = self._handshake.sid
        return self._target.resource("polling", **parameters)


def _packets(body: bytes) -> Iterator[str | bytes]:
    for is_binary, packet in decode_payload(body):
        yield packet if is_binary else packet.decode()


def payloads(packets: Sequence[EncodedPacket], limit: int) -> Iterator[bytes]:
    """Give the bodies of the POSTs that carry ``packets``, each of at most ``limit`` bytes unless a single record is larger."""
    records: list[bytes] = []
    size = 0
    for packet in packets:
        for record in [packet.polling] if len(packet.polling) <= limit else packet.polling.split(RECORD_SEPARATOR):
            if records and size + _TEXT_SEPARATOR + len(record) > limit:
                yield RECORD_SEPARATOR.join(records)
                records, size = [], 0
            size += len(record) + (_TEXT_SEPARATOR if records else 0)
            records.append(record)
    if records:
        yield RECORD_SEPARATOR.join(records)
