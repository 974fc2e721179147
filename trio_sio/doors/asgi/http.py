"""One HTTP request at the ASGI door."""

from __future__ import annotations

import trio

from ...concurrency.streams import DISCARD_SECONDS, DISCARDED_BYTES
from ...config import Config
from ...engine.door import BodyTooLarge, ClientGone
from ...protocol.http import Request, Response
from ..requests import BodyStalled, collect_body, stays_until
from .messages import GONE, Receive, Scope, Send, read_request, response_messages

__all__ = ["ASGIExchange"]


class ASGIExchange:
    """One HTTP request that waits for its response (`trio_sio.engine.door.HttpExchange`).

    Args:
      scope: Of the request.
      receive: From the host.
      send: To the host.
      config: The time-outs.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, config: Config) -> None:
        self.request: Request = read_request(scope)
        self._scope = scope
        self._receive = receive
        self._send = send
        self._config = config
        self._body_ended = False
        self._gone = False
        self._woken: trio.Event
        self._fault: Response | None = None

    def body_nowait(self, limit: int) -> bytes | None:
        """Return ``None``: a host hands a body over when it is asked; see `HttpExchange.body_nowait`."""
        return None

    async def read_body(self, limit: int) -> bytes:
        """Return the whole body; see `HttpExchange.read_body`."""
        declared = self.request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            await trio.lowlevel.checkpoint()
            raise BodyTooLarge(f"The request body has {declared} bytes; the limit is {limit}.")
        try:
            return await collect_body(self._next_data, limit, self._config.http_stall_timeout)
        except BodyStalled as stalled:
            self._fault = Response(408, f"{stalled}\n".encode(), close=True)
            raise

    async def respond(self, response: Response) -> None:
        """Send the response; see `HttpExchange.respond`."""
        if self._fault is not None:
            await trio.lowlevel.checkpoint()
            raise ClientGone("The request never arrived whole.")
        await self._respond(response)

    async def wait_woken(self) -> bool:
        """Wait for `wake`, or for the client to go; see `HttpExchange.wait_woken`."""
        self._woken = trio.Event()
        return await stays_until(self._woken, self._wait_gone)

    def wake(self) -> None:
        """Let `wait_woken` return; see `HttpExchange.wake`."""
        self._woken.set()

    async def _wait_gone(self) -> None:
        while not self._gone:
            await self._next()

    async def finish(self) -> None:
        """Answer a request whose body never arrived whole; to be called when the engine is done with it."""
        if self._fault is not None:
            await self._respond(self._fault)

    async def _respond(self, response: Response) -> None:
        fault: Exception | None = None
        async with trio.open_nursery() as nursery:
            if not (self._body_ended or self._gone):
                # Some hosts take no response while the body waits to be received, so somebody has to receive it; and most
                # clients look for a response only when they have sent everything.
                enough = trio.Event()
                nursery.start_soon(self._discard, enough)
                with trio.move_on_after(DISCARD_SECONDS):
                    await enough.wait()
            try:
                for message in response_messages("http", response, self._scope):
                    with trio.fail_after(self._config.write_stall_timeout):
                        await self._send(message)
            except (*GONE, trio.TooSlowError) as exc:
                fault = exc
            nursery.cancel_scope.cancel()
        if fault is not None:
            raise ClientGone("The client did not take its response.") from fault

    async def _discard(self, enough: trio.Event) -> None:
        size = 0
        while not (self._body_ended or self._gone):
            size += len(await self._next())
            if size > DISCARDED_BYTES:
                enough.set()
        enough.set()

    async def _next_data(self) -> bytes | None:
        """Return some bytes of the body, or ``None`` at its end."""
        if self._body_ended:
            return None
        data = b"" if self._gone else await self._next()
        if self._gone:
            raise ClientGone("The client left before its request was complete.")
        return data

    async def _next(self) -> bytes:
        """Receive one message; return its part of the body."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._gone = True
            return b""
        self._body_ended = not message.get("more_body", False)
        body: bytes = message.get("body", b"")
        return body
