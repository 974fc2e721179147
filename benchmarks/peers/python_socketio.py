"""The benchmark's application on python-socketio.

uvicorn --loop uvloop --log-level error --port PORT python_socketio:app; in the environment MIDDLEWARE, and REDIS, a URL.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

import socketio

redis = os.environ.get("REDIS")
manager = socketio.AsyncRedisManager(redis) if redis else None
sio = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*", client_manager=manager)


@sio.on("echo")
async def echo(sid: str, data: str) -> str:
    """Answer with what came."""
    return data


Handler = Callable[[str, Any], Awaitable[object]]


def has_event(handler: Handler) -> Handler:
    """Be the first middleware; there is no such thing in python-socketio, so both are decorators."""

    async def checked(sid: str, data: object) -> object:
        return await handler(sid, data) if sid else None

    return checked


def has_argument(handler: Handler) -> Handler:
    """Be the second one."""

    async def checked(sid: str, data: object) -> object:
        return await handler(sid, data) if data is not None else None

    return checked


async def typed(sid: str, data: Any) -> object:
    """Check the argument as application.cjs does."""
    if (
        isinstance(data, dict)
        and isinstance(data.get("id"), int)
        and isinstance(data.get("text"), str)
        and isinstance(data.get("tags"), list)
        and all(isinstance(tag, str) for tag in data["tags"])
    ):
        return data["id"]
    return {"status": "error"}


sio.on("typed", has_event(has_argument(typed)) if os.environ.get("MIDDLEWARE") else typed)


@sio.on("broadcast")
async def broadcast(sid: str, data: str) -> None:
    """Send it to every client."""
    await sio.emit("msg", data)


@sio.on("join")
async def join(sid: str, rooms: list[str]) -> None:
    """Join all of them."""
    for room in rooms:
        await sio.enter_room(sid, room)


@sio.on("shout")
async def shout(sid: str, data: str) -> None:
    """Send it to everybody in the lobby."""
    await sio.emit("msg", data, room="lobby")


app = socketio.ASGIApp(sio)
