"""One HTTP request at the native door, from the end of its head to the last byte of its response."""

from __future__ import annotations

import email.utils
import http
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import trio

from ...config import Config
from ...engine.door import BodyTooLarge, ClientGone
from ...protocol.http import Request, Response
from .access import log_access
from .body import Body, BodyFault
from .buffered import BufferedStream
from .head import Head, plain_text

if TYPE_CHECKING:
    from .files import FileResponse

__all__ = ["DRAIN_BYTES", "DRAIN_SECONDS", "Exchange", "encode_fields", "encode_response"]

# What is read and thrown away of a body that nobody wants, so that the client gets the response instead of a reset.
DRAIN_BYTES: Final = 256 * 1024
DRAIN_SECONDS: Final = 1.0

# Fewer bytes than this within `http_stall_timeout` are no progress; a slow mobile client sends as much in a second.
_PROGRESS: Final = 1024

# Around a chunk of one byte five others are needed; extensions beyond that, and some slack, are an attack.
_FRAMING_FACTOR: Final = 8
_FRAMING_SLACK: Final = 128 * 1024

_NO_BODY: Final = frozenset({204, 304})


def encode_response(response: Response, *, length: int | None = None, head_only: bool = False, close: bool = False) -> bytes:
    """Return ``response`` as it goes over the wire.

    Args:
      response: The response.
      length: Bytes of a body that follows; ``None``: the body is that of ``response``.
      head_only: Whether the request was HEAD.
      close: Whether to announce that no other response follows on this connection.

    Raises:
      ValueError: if a header field contains a line break.
    """
    fields = [*response.headers, (b"Date", email.utils.formatdate(usegmt=True).encode())]
    if response.status not in _NO_BODY:
        fields.append((b"Content-Length", b"%d" % (len(response.body) if length is None else length)))
    if close:
        fields.append((b"Connection", b"close"))
    head = b"HTTP/1.1 %d %s\r\n" % (response.status, http.HTTPStatus(response.status).phrase.encode()) + encode_fields(fields)
    return head + b"\r\n" if head_only or response.status in _NO_BODY else head + b"\r\n" + response.body


def encode_fields(fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return header fields as they go over the wire.

    Raises:
      ValueError: if one of them contains a line break.
    """
    for name, value in fields:
        if b"\r" in value or b"\n" in value:
            raise ValueError(f"The response header {name!r} contains a line break; remove it.")
    return b"".join(b"%s: %s\r\n" % field for field in fields)


class Exchange:
    """One HTTP request that waits for its response (`trio_sio.engine.door.HttpExchange`).

    Args:
      wire: The connection; this exchange has it for itself.
      head: The request's head.
      config: The time-outs.
      draining: Tells whether this connection ends with this response because the server stops.
    """

    def __init__(self, wire: BufferedStream, head: Head, config: Config, draining: Callable[[], bool]) -> None:
        self.request: Request = head.request
        self.responded = False
        self._wire = wire
        self._body = Body(head.content_length, config.limits)
        self._content_length = head.content_length
        self._config = config
        self._draining = draining
        self._keep_alive = head.keep_alive
        self._waits_for_continue = head.expects_continue
        self._body_fault: Response | None = None
        self._began = trio.current_time()

    async def read_body(self, limit: int) -> bytes:
        """Return the whole body; see `HttpExchange.read_body`."""
        if self._content_length is not None and self._content_length > limit:
            self._keep_alive = False
            await trio.lowlevel.checkpoint()
            raise BodyTooLarge(f"The request body has {self._content_length} bytes; the limit is {limit}.")
        if self._waits_for_continue:
            self._waits_for_continue = False
            await self._wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = bytearray()
        progress = _PROGRESS
        with trio.move_on_after(self._config.http_stall_timeout) as stall:
            while (data := await self._next_data()) is not None:
                body += data
                if len(body) > limit:
                    self._keep_alive = False
                    raise BodyTooLarge(f"The request body is larger than {limit} bytes.")
                if self._body.taken > _FRAMING_SLACK + _FRAMING_FACTOR * len(body):
                    raise self._body_failed(400, "The chunks of the request body are mostly framing.")
                if len(body) >= progress:
                    progress = len(body) + _PROGRESS
                    stall.deadline = trio.current_time() + self._config.http_stall_timeout
            return bytes(body)
        raise self._body_failed(408, "The request body made no progress for too long.")

    async def respond(self, response: Response, file: FileResponse | None = None) -> None:
        """Send the response; see `HttpExchange.respond`.

        Args:
          response: The response.
          file: What the body is read from, if it is not in ``response``.

        Raises:
          ClientGone: see `HttpExchange.respond`.
          FileChanged: if the body cannot be completed; the client sees that when the connection closes.
        """
        if self._body_fault is not None:
            # Half a body was read, so only the door knows what can still be said on this connection.
            await trio.lowlevel.checkpoint()
            raise ClientGone("The request never arrived whole.")
        self.responded = True
        keep_alive = self._keep_alive and not (response.close or self._draining() or self._waits_for_continue)
        self._keep_alive = False  # unless the response gets out whole
        head_only = self.request.method == "HEAD"
        length = None if file is None else file.size
        await self._wire.send(encode_response(response, length=length, head_only=head_only, close=not keep_alive))
        if file is not None and not head_only:
            await self._send_file(file)
        self._keep_alive = keep_alive
        log_access(self.request, response.status, self._began)

    async def _send_file(self, file: FileResponse) -> None:
        sent = 0
        while sent < file.size:
            piece = await file.read(sent)
            await self._wire.send(piece)
            sent += len(piece)

    async def wait_gone(self) -> None:
        """Return when the client has gone; see `HttpExchange.wait_gone`."""
        limit = self._config.limits.header_bytes
        try:
            while (room := limit - len(self._wire.buffer)) > 0:
                if not await self._wire.receive(room):
                    return
        except ClientGone:
            return
        # The client pipelines more than a request's head: it is alive, and what it sends next can wait in the kernel.
        await trio.sleep_forever()

    async def finish(self) -> bool:
        """Get rid of what is left of the request; tell whether another one may follow.

        Raises:
          ClientGone: if the connection broke.
        """
        if self._body_fault is not None and not self.responded:
            await self._wire.send(encode_response(self._body_fault, close=True))
            log_access(self.request, self._body_fault.status, self._began)
        if not (self.responded and self._keep_alive):
            return False
        limit = self._body.taken + DRAIN_BYTES
        with trio.move_on_after(DRAIN_SECONDS):
            while await self._next_data() is not None:
                if self._body.taken > limit:
                    return False
            return True
        return False

    async def _next_data(self) -> bytes | None:
        """Return some bytes of the body, or ``None`` at its end."""
        try:
            while (data := self._body.take(self._wire.buffer)) == b"":
                if not await self._wire.receive():
                    raise self._body_failed(400, "The request ended before its body was complete.")
        except BodyFault as fault:
            raise self._body_failed(fault.status, str(fault)) from fault
        return data

    def _body_failed(self, status: int, message: str) -> ClientGone:
        self._body_fault = plain_text(status, message)
        return ClientGone(message)
