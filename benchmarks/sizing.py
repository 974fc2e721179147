"""Measure what a server holds for each of its parts, in one process, by counting what Python allocates; print a table.

`docs/operations.md` does its arithmetic with these figures, and a test holds it to them. The kernel's buffers are not counted.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final

import trio

from trio_sio import Server, Socket
from trio_sio.testing import InMemoryServer, RawWebSocket, open_test_server

CLIENTS: Final = 200
EACH: Final = 20  # rooms, or packets, for every client

MEMBERSHIP: Final = "its membership of a room where others are"
ROOM: Final = "a room with one member"
SHARED: Final = "a packet of a broadcast that waits for one client more"
OWN: Final = "a packet of 32 bytes that waits for a client alone"


async def measure() -> dict[str, float]:
    """Return the bytes of each part."""
    figures: dict[str, float] = {}
    server = Server()

    @server.on("anything")
    async def anything(socket: Socket) -> None:
        """Let clients in."""

    async with AsyncExitStack() as stack:
        kit = await stack.enter_async_context(open_test_server(server))
        await _connect(kit, stack, CLIENTS)
        sockets = list(server.of("/").sockets.values())

        async def crowd() -> None:
            for socket in sockets:
                await socket.join(*(f"room {number}" for number in range(EACH)))

        async def alone() -> None:
            for number, socket in enumerate(sockets):
                await socket.join(*(f"room {number}.{part}" for part in range(EACH)))

        async def broadcast() -> None:
            for _ in range(EACH):
                await server.emit("said", "x" * 32)

        async def one_by_one() -> None:
            for socket in sockets:
                for _ in range(EACH):
                    socket.emit_nowait("said", "x" * 32)

        await sockets[0].join(*(f"room {number}" for number in range(EACH)))
        figures[MEMBERSHIP] = await _growth(crowd, CLIENTS * EACH)
        figures[ROOM] = await _growth(alone, CLIENTS * EACH)
        # From the second on they wait, as nobody reads.
        await broadcast()
        figures[SHARED] = await _growth(broadcast, CLIENTS * EACH)
        figures[OWN] = await _growth(one_by_one, CLIENTS * EACH)
        kit.cancel()
    return figures


async def _connect(kit: InMemoryServer, stack: AsyncExitStack, clients: int) -> None:
    for _ in range(clients):
        stream = await kit.connect_lockstep_stream()  # what nobody reads is not taken
        websocket = await stack.enter_async_context(await RawWebSocket.open(stream, "/socket.io/?EIO=4&transport=websocket"))
        await websocket.send("40")
        for _ in range(2):
            await websocket.receive()


async def _growth(act: Callable[[], Awaitable[None]], parts: int) -> float:
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    await act()
    await trio.testing.wait_all_tasks_blocked()
    gc.collect()
    return (tracemalloc.get_traced_memory()[0] - before) / parts


def main() -> None:
    """Run the benchmark."""
    tracemalloc.start()
    figures = trio.run(measure)
    print("| | bytes |\n|---|---|")
    for name, value in figures.items():
        print(f"| {name} | {value:,.0f} |")


if __name__ == "__main__":
    main()
