"""What the tests of a client's connections have in common."""

from __future__ import annotations

import trio
import trio.testing

from trio_sio.client.socket import ClientSocket
from trio_sio.client.states import State

__all__ = ["collect"]


async def collect(socket: ClientSocket, seen: list[State], task_status: trio.TaskStatus[None]) -> None:
    async with socket.states() as states:
        task_status.started()
        async for state in states:
            seen.append(state)  # noqa: PERF401  # one by one: tests look before it ends
