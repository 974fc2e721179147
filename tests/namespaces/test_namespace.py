"""Which namespaces exist, and for how long."""

from __future__ import annotations

import gc
import re
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from typing import ClassVar

import pytest
import trio
import trio.testing

from tests.namespaces.serving import Handler, Join, open_namespaces
from trio_sio import Config, ConnectionRefused, Limits, Namespace, Server, Socket
from trio_sio.namespaces import registry
from trio_sio.namespaces.adapter import InMemoryAdapter

ROOM = re.compile(r"/room-(?P<id>\d+)(?:-(?P<kind>\w+))?")


async def test_a_name_that_matches_a_pattern_opens_a_namespace_and_its_groups_are_params() -> None:
    handler = Handler()
    async with (
        open_namespaces({ROOM: handler}) as server,
        server.strict_client("/room-7") as first,
        server.strict_client("/room-8-x") as second,
    ):
        sockets = {socket.id: socket for socket in handler.sockets}
        assert dict(sockets[first.id].params) == {"id": "7", "kind": ""}
        assert dict(sockets[second.id].params) == {"id": "8", "kind": "x"}
        await sockets[first.id].namespace.emit("x")
        await trio.testing.wait_all_tasks_blocked()

        assert ([event.name for event in first.pending], second.pending) == (["x"], ())


@pytest.mark.parametrize("name", ["/room-", "/room-7/", "/xroom-7", "/other", "/room-7\n"])
async def test_other_names_are_invalid_and_the_connection_goes_on(name: str) -> None:
    async with open_namespaces({"/": Handler(), ROOM: Handler()}) as server, server.strict_client() as client:
        with pytest.raises(ConnectionRefused, match="Invalid namespace"):
            await client.connection.join(name)
        assert client.connected


async def test_a_fixed_name_wins_over_a_pattern_and_an_earlier_pattern_over_a_later_one() -> None:
    fixed, first, second = Handler(), Handler(), Handler()
    namespaces: dict[str | re.Pattern[str], Handler] = {ROOM: first, re.compile(".*"): second, "/room-1": fixed}
    async with (
        open_namespaces(namespaces) as server,
        server.strict_client("/room-1"),
        server.strict_client("/room-2"),
        server.strict_client("/anything"),
    ):
        assert [[socket.namespace.name for socket in handler.sockets] for handler in (fixed, first, second)] == [
            ["/room-1"],
            ["/room-2"],
            ["/anything"],
        ]


async def test_asking_for_a_namespace_does_not_open_it() -> None:
    async with open_namespaces(Handler()) as server:
        assert isinstance(server.server, Server)
        namespace = server.server.of("/closed")
        with pytest.raises(ConnectionRefused, match="Invalid namespace"):
            async with server.strict_client("/closed"):
                pass
        assert server.server.of("closed") is namespace


async def test_only_so_many_dynamic_namespaces_exist_at_once() -> None:
    config = Config(limits=Limits(dynamic_namespaces=2))
    async with (
        open_namespaces({"/fixed": Handler(), ROOM: Handler()}, config) as server,
        server.strict_client("/room-1"),
        server.strict_client("/room-1"),
        server.strict_client("/fixed"),
    ):
        async with server.strict_client("/room-2"):
            with pytest.raises(ConnectionRefused, match="Invalid namespace"):
                async with server.strict_client("/room-3"):
                    pass
        async with server.strict_client("/room-3"):
            pass


@pytest.mark.parametrize("refused", [False, True])
async def test_only_dynamic_namespaces_with_somebody_in_them_count(refused: bool) -> None:
    async def refuse(socket: Socket, join: Join) -> None:
        if refused:
            raise ConnectionRefused

    async with open_namespaces({"/fixed": Handler(), ROOM: Handler(connect=None if not refused else refuse)}) as server:
        assert isinstance(server.server, Server)
        in_use = server.server.namespaces._in_use
        asked_for = server.server.of("/room-2")
        async with server.strict_client("/fixed") as client:
            assert not in_use
            for name in ("/room-1", "/room-2"):
                with nullcontext() if not refused else pytest.raises(ConnectionRefused):
                    await client.connection.join(name)
            assert len(in_use) == (0 if refused else 2)
            assert (asked_for in in_use) is not refused
        await trio.testing.wait_all_tasks_blocked()

        assert not in_use


async def test_an_empty_dynamic_namespace_disappears() -> None:
    handler = Handler()
    async with open_namespaces({ROOM: handler}) as server:
        assert isinstance(server.server, Server)
        async with server.strict_client("/room-1"):
            # The server holds the main one, whether somebody opens it or not.
            assert [namespace.name for namespace in server.server.namespaces] == ["/", "/room-1"]
        await trio.testing.wait_all_tasks_blocked()
        handler.sockets.clear()
        gc.collect()

        assert [namespace.name for namespace in server.server.namespaces] == ["/"]


async def test_ack_ids_count_per_namespace() -> None:
    first, second = Handler(), Handler()
    async with open_namespaces({"/": first, "/b": second}) as server, server.strict_client() as client:
        await client.connection.join("/b")

        assert [first.socket.namespace.next_ack_id() for _ in range(3)] == [0, 1, 2]
        assert second.socket.namespace.next_ack_id() == 0


# The life of a namespace, and of its adapter.


class Closing(InMemoryAdapter):
    """Counts how often one was made and closed, by the namespace's name."""

    made: ClassVar[Counter[str]]
    closed: ClassVar[Counter[str]]

    def __init__(self, namespace: Namespace) -> None:
        super().__init__(namespace)
        self.name = namespace.name
        self.made[self.name] += 1

    def close(self) -> None:
        self.closed[self.name] += 1


@pytest.fixture
def closing(monkeypatch: pytest.MonkeyPatch) -> type[Closing]:
    monkeypatch.setattr(Closing, "made", Counter(), raising=False)
    monkeypatch.setattr(Closing, "closed", Counter(), raising=False)
    monkeypatch.setattr(registry, "IDLE_NAMESPACES", 2)
    return Closing


async def test_the_last_who_leaves_closes_the_adapter_and_who_comes_again_gets_another(closing: type[Closing]) -> None:
    handler = Handler()
    async with open_namespaces({"/fixed": Handler(), ROOM: handler}, adapter=closing) as server:
        for number in (1, 2, 3):
            async with server.strict_client("/room-1"), server.strict_client("/fixed"):
                async with server.strict_client("/room-1"):
                    assert closing.closed == {"/room-1": number - 1} if number > 1 else not closing.closed
                await trio.testing.wait_all_tasks_blocked()
            await trio.testing.wait_all_tasks_blocked()
            assert (closing.made["/room-1"], closing.closed) == (number, {"/room-1": number})
            await handler.sockets[-1].emit("to the dead")  # which wakes nothing up
            assert closing.made["/room-1"] == number


async def test_who_holds_a_namespace_that_has_retired_goes_on_with_it(closing: type[Closing]) -> None:
    async with open_namespaces({ROOM: Handler()}, adapter=closing) as server:
        assert isinstance(server.server, Server)
        namespace = server.server.of("/room-1")
        async with server.strict_client("/room-1"):
            pass
        await trio.testing.wait_all_tasks_blocked()
        assert closing.closed == {"/room-1": 1}

        async with server.strict_client("/room-1") as client:
            await namespace.emit("x", 1)
            assert await client.once("x") == (1,)
            assert server.server.of("/room-1") is namespace


async def test_of_those_that_were_only_asked_for_the_oldest_goes(closing: type[Closing]) -> None:
    async with open_namespaces(Handler(), adapter=closing) as server:
        assert isinstance(server.server, Server)
        first, *_ = [server.server.of(f"/asked-{number}") for number in range(3)]
        await trio.testing.wait_all_tasks_blocked()
        assert closing.closed == {"/asked-0": 1}
        first.emit_nowait("x")
        assert closing.made["/asked-0"] == 2
        assert closing.closed == {"/asked-0": 1, "/asked-1": 1}


@pytest.mark.parametrize(
    "register",
    [
        lambda namespace: namespace.on_server_side_emit("x")(print),
        lambda namespace: namespace.on_session_expired(print),
        lambda namespace: namespace.adapter.on_create_room(print),
        lambda namespace: namespace.adapter.on_delete_room(print),
        lambda namespace: namespace.adapter.on_join_room(print),
        lambda namespace: namespace.adapter.on_leave_room(print),
    ],
)
async def test_one_that_the_application_listens_to_does_not_go(register: Callable[[Namespace], object], closing: type[Closing]) -> None:
    async with open_namespaces({ROOM: Handler()}, adapter=closing) as server:
        assert isinstance(server.server, Server)
        register(server.server.of("/room-1"))
        register(server.server.of("/listened"))
        for number in range(4):
            server.server.of(f"/asked-{number}")
        async with server.strict_client("/room-1"):
            pass
        await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        assert not {"/room-1", "/listened"} & closing.closed.keys()
        assert {"/room-1", "/listened"} <= {namespace.name for namespace in server.server.namespaces}


async def test_one_that_a_task_listens_to_does_not_go(closing: type[Closing]) -> None:
    async with open_namespaces({ROOM: Handler()}, adapter=closing) as server:
        assert isinstance(server.server, Server)
        async with server.server.of("/room-1").subscribe("a") as channel:
            async with server.strict_client("/room-1"):
                pass
            await trio.testing.wait_all_tasks_blocked()
            gc.collect()
            server.server.of("/room-1").to("a").emit_nowait("x")
            assert await channel.receive() == ("x", ())
            assert not closing.closed


async def test_one_that_a_socket_has_listened_to_goes_with_it(closing: type[Closing]) -> None:
    handler = Handler()
    async with open_namespaces({ROOM: handler}, adapter=closing) as server:
        async with server.strict_client("/room-1"):
            handler.sockets[-1].on_any_outgoing(print)
        await trio.testing.wait_all_tasks_blocked()
        assert closing.closed == {"/room-1": 1}


async def test_one_that_a_task_has_listened_to_goes_like_one_that_was_asked_for(closing: type[Closing]) -> None:
    async with open_namespaces({ROOM: Handler()}, adapter=closing) as server:
        assert isinstance(server.server, Server)
        for number in range(4):
            async with server.server.of(f"/room-{number}").subscribe() as subscription:
                async with server.strict_client(f"/room-{number}"):
                    pass
                await trio.testing.wait_all_tasks_blocked()
                assert f"/room-{number}" not in closing.closed
            await subscription.aclose()
        # The newest two are kept.
        assert closing.closed == {"/": 1, "/room-0": 1, "/room-1": 1}
        assert closing.made == {"/": 1} | {f"/room-{number}": 1 for number in range(4)}


async def test_an_adapter_that_fails_to_close_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    class Stubborn(InMemoryAdapter):
        def close(self) -> None:
            raise LookupError("planted")

    async with open_namespaces({ROOM: Handler()}, adapter=Stubborn) as server:
        async with server.strict_client("/room-1"):
            pass
        await trio.testing.wait_all_tasks_blocked()
    assert "The adapter of namespace '/room-1' failed to close." in caplog.text
