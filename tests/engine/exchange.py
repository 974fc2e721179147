"""HTTP exchanges that a test steers: when the client reads, and when it goes."""

from __future__ import annotations

import trio

from trio_sio.doors.requests import stays_until
from trio_sio.engine.door import BodyTooLarge, ClientGone
from trio_sio.protocol.http import Headers, Request, Response

__all__ = ["FakeExchange"]


class FakeExchange:
    """One request to the engine and what became of it.

    Attributes:
      response: The answer, once there is one.
      gone: Set it to let the client go.
      read: Whether its body was asked for.
    """

    def __init__(
        self,
        query: str,
        method: str = "GET",
        body: bytes = b"",
        content_type: str = "text/plain;charset=UTF-8",
        accept_encoding: str = "",
        *,
        length: int | None = None,
    ) -> None:
        fields = [(b"Host", b"localhost"), (b"Content-Type", content_type.encode()), (b"Accept-Encoding", accept_encoding.encode())]
        if length is not None:
            fields.append((b"Content-Length", b"%d" % length))
        headers = Headers(fields)
        self._request = Request(method, "/socket.io/", query.encode(), headers)
        self._body = body
        self.response: Response | None = None
        self.gone = trio.Event()
        self.read = False
        self._woken = trio.Event()

    @property
    def request(self) -> Request:
        return self._request

    def body_nowait(self, limit: int) -> bytes | None:
        return None

    async def read_body(self, limit: int) -> bytes:
        self.read = True
        await trio.lowlevel.checkpoint()
        if self.gone.is_set():
            raise ClientGone("the client went")
        if len(self._body) > limit:
            raise BodyTooLarge
        return self._body

    async def respond(self, response: Response) -> None:
        assert self.response is None, "one request, one response"
        await trio.lowlevel.checkpoint()
        if self.gone.is_set():
            raise ClientGone("the client went")
        self.response = response

    async def wait_woken(self) -> bool:
        return await stays_until(self._woken, self.gone.wait)

    def wake(self) -> None:
        self._woken.set()

    @property
    def status(self) -> int | None:
        """The status of the answer; ``None`` as long as there is none."""
        return None if self.response is None else self.response.status

    @property
    def body(self) -> bytes | None:
        """The body of the answer; ``None`` as long as there is none."""
        return None if self.response is None else self.response.body
