"""python-socketio's asyncio client as a program: ``python python_client.py URL TRANSPORT...`` prints what it found out, as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import socketio


def listen(client: socketio.AsyncClient, namespace: str, *events: str) -> asyncio.Queue[list[Any]]:
    """Return a queue of the ``events`` of ``namespace``, each with its arguments."""
    heard: asyncio.Queue[list[Any]] = asyncio.Queue()
    for event in events:
        client.on(event, lambda *args, event=event: heard.put_nowait([event, *args]), namespace=namespace)
    return heard


async def main(url: str, *transports: str) -> dict[str, Any]:
    """Play the whole scenario."""
    client = socketio.AsyncClient(reconnection=False)
    top = listen(client, "/", "mirrored", "bytes", "disconnect")
    rooms = listen(client, "/rooms", "said", "disconnect")
    guarded = listen(client, "/guarded", "welcome")
    client.on("question", lambda kind: {"nothing": None, "several": (1, "two"), "bytes": b"\x01"}[kind], namespace="/")
    await client.connect(
        url,
        transports=list(transports),
        auth={"label": "python", "token": "secret"},
        namespaces=["/", "/rooms", "/guarded"],
        wait_timeout=5,
    )
    report: dict[str, Any] = {"transport": client.transport(), "ids": len({client.get_sid(name) for name in ("/", "/rooms", "/guarded")})}

    who = await client.call("who", namespace="/guarded")
    report["who"] = [who["auth"], who["namespace"], who["id"] == client.get_sid("/guarded")]
    report["welcome"] = await guarded.get()

    report["mirrored"] = []
    for args in [None, "text", ("é", 2, None, [3], {"four": 4}), b"\x00\xff", ({"deep": [b"a", b""]}, "text")]:
        await client.emit("mirror", args)
        report["mirrored"].append((await top.get())[1:])
    await client.emit("send bytes")
    report["bytes"] = (await top.get())[1:]
    report["acks"] = [await client.call("echo", args) for args in [None, "one", (1, b"two", {"three": 3})]]
    report["answers"] = [await client.call("ask", kind) for kind in ("nothing", "several", "bytes")]
    report["many"] = []
    # No more than this, because the client gives up on a poll that brings more than sixteen packets, whoever serves it.
    for number in range(10):
        await client.emit("mirror", number)
    for _ in range(10):
        report["many"].append((await top.get())[1])

    await client.call("join", "red", namespace="/rooms")
    await client.emit("say", ("namespace.in", ["red"], [], b"hello"), namespace="/rooms")
    report["said"] = await rooms.get()

    # The server ends one namespace; the other two live on.
    await client.emit("leave me", False)
    report["ended by the server"] = await top.get()
    report["still there"] = "red" in await client.call("join", "blue", namespace="/rooms")
    await client.disconnect()
    report["ended by the client"] = await rooms.get()

    report["refused"] = await refusal(url, *transports)
    observer = socketio.AsyncClient(reconnection=False)
    await observer.connect(url, transports=list(transports), namespaces=["/observer"], wait_timeout=5)
    report["journal"] = await observer.call("journal", ("python", 3), namespace="/observer")
    await observer.disconnect()
    return report


async def refusal(url: str, *transports: str) -> list[Any]:
    """Return what a client with a wrong token is told."""
    client = socketio.AsyncClient(reconnection=False)
    refused = listen(client, "/guarded", "connect_error")
    try:
        await client.connect(url, transports=list(transports), auth={"token": "wrong"}, namespaces=["/guarded"], wait_timeout=5)
    except socketio.exceptions.ConnectionError:
        return await refused.get()
    finally:
        await client.disconnect()
    return ["connected"]


def to_json(value: object) -> object:
    """Spell bytes as the JavaScript scenarios do."""
    assert isinstance(value, bytes), value
    return {"$bytes": value.hex()}


if __name__ == "__main__":
    json.dump(asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), timeout=15)), sys.stdout, default=to_json)
