"""HTTP long-polling, client side: a GET takes packets, a POST gives packets, each on a connection of its own.

Engine.IO protocol, "HTTP long-polling"; Node's ``Polling`` of engine.io-client.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator, Sequence

import trio

from ..config import TransportName
from ..errors import ConnectFailed, TransportError
from ..protocol.engineio import CLOSE_PACKET, Handshake, decode_payload, encode_payloads
from ..protocol.frames import EncodedPacket
from .http import HttpConnection, HttpResponse, refusal
from .target import Target

__all__ = ["PollingTransport"]


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

    async def open(self) -> Iterator[str | bytes]:
        """See `Transport.open`."""
        response = await self._polls.request("GET", self._resource())
        if response.status != 200:
            raise refusal(self._target, self.name, response)
        return _packets(response)

    def opened(self, handshake: Handshake) -> None:
        """See `Transport.opened`."""
        self._handshake = handshake
        self._polls.stall_timeout = self._posts.stall_timeout = handshake.patience

    async def receive(self) -> Iterator[str | bytes]:
        """See `Transport.receive`; packets are decoded one by one, as they are taken."""
        return _packets(await self._request(self._polls, "GET"))

    async def send(self, packets: Sequence[EncodedPacket]) -> None:
        """Send packets, in as many requests as the server's ``maxPayload`` demands, and wait until it has taken them."""
        assert self._handshake is not None
        patience = self._handshake.patience
        for body in encode_payloads(packets, self._handshake.max_payload):
            try:
                await self._request(self._posts, "POST", body, patience=patience)
            except trio.TooSlowError:
                raise TransportError(f"the server did not answer a POST within {patience:g} seconds") from None

    async def say_goodbye(self) -> None:
        """Send the close packet."""
        await self.send([CLOSE_PACKET])

    async def aclose(self) -> None:
        """See `Transport.aclose`."""
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


def _packets(response: HttpResponse) -> Iterator[str | bytes]:
    for is_binary, packet in decode_payload(response.body):
        yield packet if is_binary else packet.decode()
