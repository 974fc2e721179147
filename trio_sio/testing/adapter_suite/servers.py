"""What servers say to each other, and who comes and goes."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from ...namespaces.answers import AckTimeout
from ..fleet import open_fleet
from .base import Suite

__all__ = ["Servers"]


class Servers(Suite):
    """Servers."""

    async def test_servers_speak_to_each_other(self) -> None:
        async with self.fleet(3) as fleet:
            said = trio.open_memory_channel[tuple[int, tuple[Any, ...]]](10)

            def listen(number: int) -> None:
                @fleet.servers[number].on_server_side_emit("reload")
                def reload(*args: object) -> None:
                    said[0].send_nowait((number, args))

                @fleet.servers[number].on_server_side_emit("count")
                async def count(more: int) -> int:
                    await trio.lowlevel.checkpoint()
                    return number + more

            for number in range(3):
                listen(number)
            await fleet.servers[0].server_side_emit("reload", "config", b"\x00")
            assert sorted([await said[1].receive(), await said[1].receive()]) == [(number, ("config", b"\x00")) for number in (1, 2)]
            assert sorted(map(str, await fleet.servers[1].server_side_emit_with_ack("count", 10))) == ["10", "12"]
            await fleet.servers[2].of("/chat").server_side_emit("reload", "not this namespace")
            await fleet.servers[2].server_side_emit("reload", "last")
            assert sorted([await said[1].receive(), await said[1].receive()]) == [(number, ("last",)) for number in (0, 1)]

    async def test_a_server_that_says_nothing_is_missing(self) -> None:
        async with self.fleet(3) as fleet:
            fleet.servers[1].on_server_side_emit("count")(lambda: "here")
            with pytest.raises(AckTimeout) as raised:
                await fleet.servers[0].server_side_emit_with_ack("count", timeout=self.PATIENCE)
            assert raised.value.responses == ["here"]
            assert len(raised.value.missing) == self.NAMES_THE_MISSING

    async def test_a_server_that_has_said_goodbye_is_not_waited_for(self) -> None:
        async with self.fleet() as fleet:
            async with open_fleet([self.cluster()], servers=3) as third:
                client = await third.client(0)
                client.on("question", lambda: "there")
                assert await fleet.servers[0].count_sockets() == 1
                assert await fleet.servers[1].emit_with_ack("question") == ["there"]
            await fleet.settle()
            before = trio.current_time()
            assert await fleet.servers[0].fetch_sockets() == []
            assert await fleet.servers[1].emit_with_ack("question") == []
            assert trio.current_time() - before < 1

    async def test_server_side_events_are_heard_in_their_order_and_their_answers_are_what_they_were(self) -> None:
        async with self.fleet() as fleet:
            heard = list[object]()

            @fleet.servers[1].on_server_side_emit("x")
            def x(*args: object) -> object:
                heard.append(args)
                return args[0] if len(args) == 1 else args

            for number in range(50):
                await fleet.servers[0].server_side_emit("x", number)
            for args in ([None], [{"a": [1, "ä"]}], [b"\x00\xff"], [1, [2]], []):
                (answer,) = await fleet.servers[0].server_side_emit_with_ack("x", *args)
                assert answer == (args[0] if len(args) == 1 else args or None)
            assert heard == [*((number,) for number in range(50)), (None,), ({"a": [1, "ä"]},), (b"\x00\xff",), (1, [2]), ()]

    async def test_a_function_that_fails_is_missing_and_harms_nobody(self, caplog: pytest.LogCaptureFixture) -> None:
        async with self.fleet(3) as fleet:

            def fail() -> None:
                raise LookupError("planted")

            fleet.servers[1].on_server_side_emit("x")(fail)
            fleet.servers[2].on_server_side_emit("x")(lambda: "there")
            with pytest.raises(AckTimeout) as raised:
                await fleet.servers[0].server_side_emit_with_ack("x", timeout=self.PATIENCE)
            assert raised.value.responses == ["there"]
            assert "The function for server-side event 'x' in namespace '/' failed." in caplog.messages

    async def test_questions_between_servers_do_not_mix(self) -> None:
        async with self.fleet(3) as fleet:
            for number, server in enumerate(fleet.servers):

                @server.on_server_side_emit("x")
                async def x(text: str, number: int = number) -> str:
                    await trio.lowlevel.checkpoint()
                    return f"{text} {number}"

            got = dict[str, list[str]]()

            async def ask(text: str) -> None:
                got[text] = sorted(map(str, await fleet.servers[int(text[0])].server_side_emit_with_ack("x", text)))

            async with trio.open_nursery() as nursery:
                for number in range(15):
                    nursery.start_soon(ask, f"{number % 3}-{number}")
            assert len(got) == 15
            assert all(answers == [f"{text} {number}" for number in range(3) if number != int(text[0])] for text, answers in got.items())

    async def test_they_know_how_many_they_are(self) -> None:
        async with self.fleet(3) as fleet:
            assert [await cluster.server_count() for cluster in fleet.clusters] == [3, 3, 3]
            async with open_fleet([self.cluster()], servers=4):
                await fleet.settle(4)
            await fleet.settle(3)
