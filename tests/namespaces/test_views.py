"""What applications may iterate over while clients come and go."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import trio
import trio.testing

from tests.namespaces.serving import Handler, open_namespaces
from tests.namespaces.standins import Standins
from trio_sio import Server
from trio_sio.namespaces.namespace import Namespace
from trio_sio.namespaces.views import Snapshots

COLLECTIONS: dict[str, Callable[[Namespace], Iterable[object]]] = {
    "sockets": lambda namespace: namespace.sockets,
    "sockets.keys()": lambda namespace: namespace.sockets.keys(),
    "sockets.values()": lambda namespace: namespace.sockets.values(),
    "sockets.items()": lambda namespace: namespace.sockets.items(),
    "rooms": lambda namespace: next(iter(namespace.sockets.values())).rooms,
    "namespaces": lambda namespace: namespace.server.namespaces,
    "connections": lambda namespace: namespace.server.engine.connections,
}


@pytest.mark.parametrize("what", COLLECTIONS)
@pytest.mark.hostile("R53")
async def test_a_loop_may_wait_while_clients_come_and_go(what: str) -> None:
    handler = Handler()
    async with open_namespaces({"/": handler}) as memory, memory.strict_client() as first, memory.strict_client():
        server: Any = memory.server
        assert isinstance(server, Server)
        kept = server.of("/kept")
        namespace = handler.socket.namespace
        before = list(COLLECTIONS[what](namespace))
        turns = 0
        async with trio.open_nursery() as nursery:
            for one in COLLECTIONS[what](namespace):
                assert one in before
                turns += 1
                if turns == 1:
                    handler.sockets[0].join_nowait("a room")
                    await first.disconnect()
                    server.of("/another")
                    await nursery.start(stay, memory)
                await trio.testing.wait_all_tasks_blocked()
            assert turns == len(before) >= 2 - (what == "rooms")
            assert kept in server.namespaces
            nursery.cancel_scope.cancel()


async def stay(memory: Any, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    async with memory.strict_client():
        task_status.started()
        await trio.sleep_forever()


async def test_everybody_can_be_disconnected_in_a_loop() -> None:
    handler = Handler()
    async with open_namespaces(handler) as memory, memory.strict_client(), memory.strict_client(), memory.strict_client():
        namespace = handler.socket.namespace
        for socket in namespace.sockets.values():
            await socket.disconnect()
        assert not namespace.sockets


def test_a_view_is_what_it_shows_now() -> None:
    mapping = {"a": 1}
    view = Snapshots(mapping)
    assert view == mapping
    assert (repr(view), len(view), "a" in view, view["a"], view.get("b")) == ("{'a': 1}", 1, True, 1, None)
    mapping["b"] = 2
    assert (list(view), list(view.keys()), list(view.values()), list(view.items())) == (
        ["a", "b"],
        ["a", "b"],
        [1, 2],
        [("a", 1), ("b", 2)],
    )
    with pytest.raises(KeyError):
        view["c"]


def test_nobody_but_the_package_changes_it() -> None:
    standins = Standins(1)
    with pytest.raises(TypeError):
        del standins.namespace.sockets[standins.sockets[0].id]  # type: ignore[attr-defined]
