"""Engine.IO alone: messages between one client and one handler, without events, rooms, namespaces and acknowledgements.

What is below Socket.IO is of use by itself: a connection that begins with HTTP requests where a WebSocket does not get
through, moves to one where it does, and notices when the other side is gone. A session is an async iterator of messages;
`str` and `bytes` stay what they are.

    python examples/engine_io.py

In a browser, with `engine.io-client`:

    const socket = new eio.Socket("ws://localhost:3000", {path: "/live"});
    socket.on("open", () => socket.send("hello"));
    socket.on("message", (message) => console.log(message));
"""

from __future__ import annotations

import os

import trio

from trio_sio import Config, EngineServer, Session


async def shout(session: Session) -> None:
    """Answer every message; the session is closed when this returns, and cancels it when it is lost."""
    name = session.request.query.get("name", "stranger")
    await session.send(f"Hello, {name}. Say `bye` to leave.")
    async for message in session:
        if message == "bye":
            return
        await session.send(message.upper() if isinstance(message, str) else message[::-1])
    print(f"{name} has left: {session.reason}", flush=True)


# Any Config will do; without `path` it is that of Socket.IO, /socket.io.
server = EngineServer(shout, config=Config(path="/live"))


async def main() -> None:
    port = int(os.environ.get("PORT", "3000"))
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, "127.0.0.1", port)
        print(f"Listening on http://127.0.0.1:{port}/live", flush=True)


if __name__ == "__main__":
    trio.run(main)
