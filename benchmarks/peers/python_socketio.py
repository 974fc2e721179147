"""The benchmark's application on python-socketio. uvicorn --loop uvloop --log-level error --port PORT python_socketio:app"""

from __future__ import annotations

import socketio

sio = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*")


@sio.on("echo")
async def echo(sid: str, data: str) -> str:
    """Answer with what came."""
    return data


@sio.on("broadcast")
async def broadcast(sid: str, data: str) -> None:
    """Send it to every client."""
    await sio.emit("msg", data)


app = socketio.ASGIApp(sio)
