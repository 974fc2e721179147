"""HTTP/1.1 requests to a `Target`, one after the other on a connection that is kept alive."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import h11
import orjson
import trio

from ..errors import ConnectFailed, TransportError
from .stream import Progress, ServerStream
from .target import Target

__all__ = ["HttpConnection", "HttpResponse", "refusal"]

_HEAD_BYTES: Final = 16 * 1024

# Servers close connections that are idle; Node's after five seconds. A request that crosses that on the wire may or may
# not have been handled, so neither may be repeated: a connection that was idle for nearly as long is not used again.
_IDLE: Final = 4.0

_QUOTED: Final = 200  # characters of a server's text in a message


class HttpResponse(NamedTuple):
    """One HTTP response, whole."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class HttpConnection:
    """Sends requests and receives responses; connects when it has to. One task at a time.

    Args:
      target: Where to.
      max_body_size: The largest response body, in bytes.

    Attributes:
      stall_timeout: See `ServerStream`.
      progress: Of the response that is being received.
    """

    def __init__(self, target: Target, max_body_size: int) -> None:
        self.stall_timeout = math.inf
        self.progress = Progress()
        self._target = target
        self._max_body_size = max_body_size
        self._stream: ServerStream | None = None
        self._http = h11.Connection(h11.CLIENT)
        self._reusable = False
        self._idle_since = 0.0

    async def request(self, method: str, resource: str, body: bytes | None = None, *, patience: float = math.inf) -> HttpResponse:
        """Make one request. Redirects are not followed.

        Args:
          method: The verb.
          resource: Path and query.
          body: A text in UTF-8; ``None`` for none.
          patience: Seconds for connecting, and again for the answer once all was sent; `stall_timeout` is for what is between.

        Raises:
          trio.TooSlowError: if ``patience`` is at its end.
          ConnectFailed: if there is no connection.
          TransportError: if it breaks, or the response is none or too large.
        """
        with trio.fail_after(patience):
            stream = await self._connected()
        # A request that is cut short, or cancelled, leaves a connection on which the next answer may be its own. It stays
        # open until the next request, or `aclose`: a server takes a dropped poll for a broken transport.
        self._reusable = False
        try:
            await self._send(stream, method, resource, body)
            with trio.fail_after(patience):
                response = await self._receive(stream)
        except h11.RemoteProtocolError as error:
            raise TransportError(f"the server did not send a valid HTTP response: {error}") from error
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._reusable = True
            self._idle_since = trio.current_time()
        self._target.keep_cookies(value for name, value in response.headers if name == "set-cookie")
        return response

    async def aclose(self) -> None:
        """Close the connection at once, if there is one; the next request opens another."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()

    async def _connected(self) -> ServerStream:
        if self._stream is not None and not self._is_reusable(self._stream):
            await self.aclose()
        if self._stream is None:
            self._stream = ServerStream(await self._target.connect_stream())
            self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
        self._stream.stall_timeout = self.stall_timeout
        return self._stream

    def _is_reusable(self, stream: ServerStream) -> bool:
        if not self._reusable or trio.current_time() - self._idle_since > _IDLE:
            return False
        # What arrives between two requests is no answer, but the end of the connection or an attempt to look like one.
        return not self._http.trailing_data[0] and not stream.readable

    async def _send(self, stream: ServerStream, method: str, resource: str, body: bytes | None) -> None:
        fields = [*self._target.headers(), ("Accept", "*/*")]
        if body is not None:
            fields += [("Content-Type", "text/plain;charset=UTF-8"), ("Content-Length", str(len(body)))]
        parts = [self._http.send(h11.Request(method=method, target=resource, headers=fields))]
        if body is not None:
            parts.append(self._http.send(h11.Data(data=body)))
        parts.append(self._http.send(h11.EndOfMessage()))
        await stream.send(b"".join(part or b"" for part in parts))

    async def _receive(self, stream: ServerStream) -> HttpResponse:
        status = 0
        headers: list[tuple[str, str]] = []
        body = bytearray()
        data = b""
        self.progress.begin()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self.progress.add(len(data))
                data = await stream.receive()
                self._http.receive_data(data)
            elif isinstance(event, h11.Response):
                status = event.status_code
                headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers]
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > self._max_body_size:
                    raise TransportError(f"the server sent a response of more than {self._max_body_size} bytes")
            elif isinstance(event, h11.EndOfMessage):
                return HttpResponse(status, headers, bytes(body))
            elif isinstance(event, h11.ConnectionClosed):
                raise TransportError("the server closed the connection instead of answering")


def refusal(target: Target, transport: str, response: HttpResponse) -> ConnectFailed:
    """Return the error for a handshake that was answered with something else than a session.

    A client's mistake (4xx, except 408 and 429) is not worth another attempt.
    """
    status = response.status
    location = next((value for name, value in response.headers if name.lower() == "location"), None)
    if 300 <= status < 400 and location is not None:
        said = f"it redirects to {location[:_QUOTED]!r}, which is not followed; connect to that address instead"
    else:
        said = _what_it_says(response.body)
    retryable = not 400 <= status < 500 or status in (408, 429)
    return ConnectFailed(
        f"{target.description} answered the {transport} handshake with {status}: {said}.", status=status, retryable=retryable
    )


def _what_it_says(body: bytes) -> str:
    try:
        answer = orjson.loads(body)
        return f"{answer['message'][:_QUOTED]} (code {answer['code']:d})"
    except (ValueError, LookupError, TypeError):
        text = body[: 4 * _QUOTED].decode(errors="replace").strip()
        return repr(text[:_QUOTED]) if text else "no reason is given"
