"""An application with pages behind a server at hypercorn's ports."""

from __future__ import annotations

from trio_sio import Server
from trio_sio.doors.asgi.messages import ASGIFramework, Receive, Scope, Send

__all__ = ["with_pages"]


def with_pages(server: Server) -> ASGIFramework:
    """Put an application behind the server that tells what it was asked for."""

    async def pages(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError("there are pages only")
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = [(b"x-fields", str(len(scope["headers"])).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": f"{scope['method']} {scope['path']} ".encode() + body})

    return server.asgi(pages)
