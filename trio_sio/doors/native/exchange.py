"""One HTTP request at the native door, from the end of its head to the last byte of its response."""

from __future__ import annotations

import email.utils
import functools
import http
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import trio

from ...concurrency.streams import DISCARD_SECONDS, DISCARDED_BYTES
from ...config import Config
from ...engine.door import BodyTooLarge, ClientGone
from ...protocol.http import BODILESS, Request, Response, plain_text
from ..requests import BodyStalled, collect_body, stays_until
from .access import began, log_access
from .body import Body
from .buffered import BufferedStream
from .faults import RequestFault
from .head import Head
from .watched import WatchedStream

if TYPE_CHECKING:
    from .files import FileResponse

__all__ = ["Exchange", "encode_fields", "encode_response"]


_STATUS_LINES: Final = {status.value: b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) for status in http.HTTPStatus}


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
    head = _STATUS_LINES[response.status] + encode_fields(response.headers) + _date(int(trio.current_time()))
    if close:
        head += b"Connection: close\r\n"
    if response.status in BODILESS:
        return head + b"\r\n"
    head += b"Content-Length: %d\r\n\r\n" % (len(response.body) if length is None else length)
    return head if head_only else head + response.body


@functools.lru_cache(maxsize=1)
def _date(second: int) -> bytes:
    """Return the Date of the responses in one second of Trio's clock, which may be the end of one second and the beginning of the next."""
    return encode_fields([(b"Date", email.utils.formatdate(usegmt=True).encode())])


def encode_fields(fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return header fields as they go over the wire.

    Raises:
      ValueError: if one of them contains a line break.
    """
    lines = b"".join([b"%s: %s\r\n" % field for field in fields])
    if lines.count(b"\r") != len(fields) or lines.count(b"\n") != len(fields):
        name = next(name for name, value in fields if b"\r" in name + value or b"\n" in name + value)
        raise ValueError(f"The response header {name!r} contains a line break; remove it.")
    return lines


class Exchange:
    """One HTTP request that waits for its response (`trio_sio.engine.door.HttpExchange`).

    Args:
      buffered: The connection; this exchange has it for itself.
      head: The request's head.
      config: The time-outs.
      draining: Tells whether this connection ends with this response because the server stops.
    """

    def __init__(self, buffered: BufferedStream, head: Head, config: Config, draining: Callable[[], bool]) -> None:
        self.request: Request = head.request
        self.responded = False
        self._buffered = buffered
        self._body = Body(head.content_length, config.limits)
        self._content_length = head.content_length
        self._config = config
        self._draining = draining
        self._keep_alive = head.keep_alive
        self._waits_for_continue = head.expects_continue
        self._body_fault: Response | None = None
        self._woken: trio.Event
        self._began = began()

    def body_nowait(self, limit: int) -> bytes | None:
        """Return the whole body if it is here, as nearly always; see `HttpExchange.body_nowait`."""
        length = self._content_length
        if length is None or length > limit or self._waits_for_continue or len(self._buffered.buffer) < length:
            return None
        return self._body.take(self._buffered.buffer) or b""

    async def read_body(self, limit: int) -> bytes:
        """Return the whole body; see `HttpExchange.read_body`."""
        if self._content_length is not None and self._content_length > limit:
            self._keep_alive = False
            await trio.lowlevel.checkpoint()
            raise BodyTooLarge(f"The request body has {self._content_length} bytes; the limit is {limit}.")
        if self._waits_for_continue:
            self._waits_for_continue = False
            await self._buffered.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if (body := self.body_nowait(limit)) is not None:
            return body
        try:
            return await collect_body(self._next_wanted, limit, self._config.http_stall_timeout)
        except BodyTooLarge:
            self._keep_alive = False
            raise
        except BodyStalled as stalled:
            self._body_fault = plain_text(408, str(stalled), close=True)
            raise

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
        await self._buffered.send(encode_response(response, length=length, head_only=head_only, close=not keep_alive))
        if file is not None and not head_only:
            await self._send_file(file)
        self._keep_alive = keep_alive
        log_access(self.request, response.status, self._began)

    async def _send_file(self, file: FileResponse) -> None:
        sent = 0
        while sent < file.size:
            piece = await file.read(sent)
            await self._buffered.send(piece)
            sent += len(piece)

    async def wait_woken(self) -> bool:
        """Wait for `wake`, or for the client to go; see `HttpExchange.wait_woken`."""
        if isinstance(self._buffered, WatchedStream):
            return await self._buffered.wait_woken()
        self._woken = trio.Event()
        return await stays_until(self._woken, self._wait_gone)

    def wake(self) -> None:
        """Let `wait_woken` return; see `HttpExchange.wake`."""
        if isinstance(self._buffered, WatchedStream):
            self._buffered.wake()
        else:
            self._woken.set()

    async def _wait_gone(self) -> None:
        limit = self._config.limits.header_bytes
        try:
            while (room := limit - len(self._buffered.buffer)) > 0:
                if not await self._buffered.receive(room):
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
            await self._buffered.send(encode_response(self._body_fault, close=True))
            log_access(self.request, self._body_fault.status, self._began)
        if not (self.responded and self._keep_alive):
            return False
        # So that the client gets the response instead of a reset.
        limit = self._body.taken + DISCARDED_BYTES
        if not self._body.is_left:
            return True  # as nearly always, which needs no deadline
        with trio.move_on_after(DISCARD_SECONDS):
            while await self._next_data() is not None:
                if self._body.taken > limit:
                    return False
            return True
        return False

    async def _next_wanted(self) -> bytes | None:
        """Return some bytes of a body that somebody wants, or ``None`` at its end."""
        data = await self._next_data()
        if data is not None and self._body.is_mostly_framing:
            raise self._body_failed(400, "The chunks of the request body are mostly framing.")
        return data

    async def _next_data(self) -> bytes | None:
        """Return some bytes of the body, or ``None`` at its end."""
        try:
            while (data := self._body.take(self._buffered.buffer)) == b"":
                if not await self._buffered.receive():
                    raise self._body_failed(400, "The request ended before its body was complete.")
        except RequestFault as fault:
            self._body_fault = fault.response
            raise ClientGone(str(fault)) from fault
        return data

    def _body_failed(self, status: int, message: str) -> ClientGone:
        self._body_fault = plain_text(status, message, close=True)
        return ClientGone(message)
