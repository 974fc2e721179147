"""The callables and messages of ASGI 3, and how requests and responses look in them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import trio

from ...protocol.http import BODILESS, Headers, Request, Response

__all__ = ["GONE", "ASGIFramework", "Message", "Receive", "Scope", "Send", "read_request", "response_messages"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
# Frameworks have types of their own for these.
ASGIFramework = Callable[[Any, Any, Any], Awaitable[object]]

GONE = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)
"""What a host's ``send`` may raise when the client has left; most hosts drop the message instead."""

_MESSAGE_BYTES: Final = 64 * 1024  # of a response, in one message


def read_request(scope: Scope) -> Request:
    """Return the head of the request that ``scope`` describes; its path is relative to where the application is mounted."""
    client = scope.get("client")
    return Request(
        scope.get("method", "GET").upper(),
        path_below_root(scope),
        scope.get("query_string", b""),
        Headers(scope["headers"]),
        client[0] if client else None,
        scope.get("scheme") in ("https", "wss"),
        scope,
    )


def path_below_root(scope: Scope) -> str:
    """Return the path without ``root_path``, which is part of it in some hosts and not in others."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    return path.removeprefix(root) if f"{path}/".startswith(f"{root}/") else path


def response_messages(prefix: str, response: Response, scope: Scope) -> list[Message]:
    """Return the messages that send ``response``.

    Args:
      prefix: ``"http"``, or ``"websocket.http"`` to refuse a handshake.
      response: The response.
      scope: Of the request.
    """
    headers = [(name.lower(), value) for name, value in response.headers]
    if response.status not in BODILESS:
        headers.append((b"content-length", b"%d" % len(response.body)))
    # HTTP/2 and later have no such header; there the host ends the stream only.
    if response.close and scope.get("http_version", "1.1") in ("1.0", "1.1"):
        headers.append((b"connection", b"close"))
    body = b"" if scope.get("method") == "HEAD" or response.status in BODILESS else response.body
    # A response without a body is one message, too.
    cuts = [body[start : start + _MESSAGE_BYTES] for start in range(0, max(len(body), 1), _MESSAGE_BYTES)]
    return [
        {"type": f"{prefix}.response.start", "status": response.status, "headers": headers},
        *({"type": f"{prefix}.response.body", "body": cut, "more_body": number < len(cuts)} for number, cut in enumerate(cuts, 1)),
    ]
