"""What is emitted to clients: who gets it, in which order, and what is in it."""

from __future__ import annotations

import pytest

from ...errors import EncodeError
from ..fleet import open_fleet
from .base import END, Suite, heard

__all__ = ["Broadcasts"]


class Broadcasts(Suite):
    """Events for clients."""

    async def test_everybody_hears_a_broadcast_once_and_in_order(self) -> None:
        async with self.fleet(3) as fleet:
            clients = [await fleet.client(number % 3) for number in range(4)]
            for number in range(10):
                await fleet.servers[0].emit("x", number, {"a": [1.5, None, "ä"]})
            await fleet.servers[0].emit(END)
            expected = [["x", number, {"a": [1.5, None, "ä"]}] for number in range(10)]
            assert [await heard(client) for client in clients] == [expected] * 4

    async def test_rooms_reach_their_members_wherever_they_are_each_once(self) -> None:
        async with self.fleet() as fleet:
            both, one, none = [await fleet.client(1, *rooms) for rooms in (("a", "b"), ("a",), ())]
            here = await fleet.client(0, "b")
            await fleet.servers[0].to("a").emit("a")
            await fleet.servers[0].to("a", "b").emit("a or b")
            await fleet.servers[0].to("nobody").emit("nobody")
            await fleet.servers[0].to(none.id).emit("alone")
            await fleet.servers[0].emit(END)
            assert await heard(both) == await heard(one) == [["a"], ["a or b"]]
            assert await heard(none) == [["alone"]]
            assert await heard(here) == [["a or b"]]

    async def test_those_who_are_left_out_are_left_out_everywhere(self) -> None:
        async with self.fleet() as fleet:
            sender = await fleet.client(0, "a")
            clients = [await fleet.client(number, *rooms) for number, rooms in ((0, ()), (1, ("b",)), (1, ()))]
            await fleet.servers[0].except_("b").emit("not b")
            await fleet.servers[0].except_(clients[2].id).emit("not that one")
            await fleet.socket(0, sender).broadcast.emit("not me")
            await fleet.socket(0, sender).to("b").emit("b")
            await fleet.servers[0].emit(END)
            assert await heard(sender) == [["not b"], ["not that one"]]
            assert [await heard(client) for client in clients] == [
                [["not b"], ["not that one"], ["not me"]],
                [["not that one"], ["not me"], ["b"]],
                [["not b"], ["not me"]],
            ]

    async def test_what_is_local_stays_here(self) -> None:
        async with self.fleet() as fleet:
            here, there = await fleet.client(0, "a"), await fleet.client(1, "a")
            await fleet.servers[0].local.emit("x")
            await fleet.servers[0].local.to("a").emit("y")
            await fleet.socket(0, here).volatile().emit("z")
            assert [socket.id for socket in await fleet.servers[0].local.fetch_sockets()] == [here.id]
            await fleet.servers[0].local.to("a").sockets_leave("a")
            await fleet.servers[0].to("a").emit("still")
            await fleet.servers[0].emit(END)
            assert await heard(here) == [["x"], ["y"], ["z"]]
            assert await heard(there) == [["still"]]

    async def test_bytes_arrive_as_bytes(self) -> None:
        async with self.fleet() as fleet:
            client = await fleet.client(1)
            await fleet.servers[0].emit("x", b"\x00\xff", {"deep": [bytearray(b"abc")]}, "text")
            assert await client.once("x") == (b"\x00\xff", {"deep": [b"abc"]}, "text")

    async def test_flags_travel(self) -> None:
        async with self.fleet() as fleet:
            client = await fleet.client(1)
            await fleet.servers[0].volatile(key="k").emit("volatile")
            await fleet.servers[0].compress(True).emit("compressed")
            await fleet.servers[0].emit(END)
            assert await heard(client) == [["volatile"], ["compressed"]]

    async def test_namespaces_do_not_hear_each_other(self) -> None:
        async with self.fleet() as fleet:
            clients = [await fleet.client(1, namespace=namespace) for namespace in ("/", "/chat", "/room-1", "/room-2")]
            for namespace in ("/", "/chat", "/room-1"):
                await fleet.servers[0].of(namespace).emit("x", namespace)
            for client in clients:
                await fleet.servers[0].of(client.namespace).emit(END)
            assert [await heard(client) for client in clients] == [[["x", "/"]], [["x", "/chat"]], [["x", "/room-1"]], []]

    async def test_what_cannot_be_sent_reaches_nobody(self) -> None:
        async with self.fleet() as fleet:
            here, there = await fleet.client(0), await fleet.client(1)
            for broken in (object(), {1: 2}):
                with pytest.raises(EncodeError):
                    await fleet.servers[0].emit("x", broken)
                with pytest.raises(EncodeError):
                    await fleet.servers[0].emit_with_ack("x", broken)
            await fleet.servers[0].emit(END)
            assert await heard(here) == await heard(there) == []

    async def test_each_server_is_heard_in_its_order(self) -> None:
        async with self.fleet(3) as fleet:
            client = await fleet.client(2)
            for number in range(100):
                fleet.servers[number % 2].emit_nowait("x", number % 2, number)
            for server in fleet.servers[:2]:
                server.emit_nowait(END)
            events = await heard(client) + await heard(client)
            for which in range(2):
                assert [event for event in events if event[1] == which] == [["x", which, number] for number in range(which, 100, 2)]

    async def test_a_burst_arrives_whole(self) -> None:
        async with self.fleet() as fleet:
            client = await fleet.client(1)
            for number in range(2_000):
                fleet.servers[0].emit_nowait("x", number)
            fleet.servers[0].emit_nowait(END)
            assert await heard(client) == [["x", number] for number in range(2_000)]
            assert [cluster.gaps for cluster in fleet.clusters] == [0, 0]

    @pytest.mark.parametrize(
        "value", ["x" * 500_000, b"\xff" * 500_000, [[[[[[[["deep"]]]]]]]], "\U0001f600 \x00 \u2028", 2**53 - 1, -1.5e300, []]
    )
    async def test_what_is_emitted_arrives_as_it_was(self, value: object) -> None:
        async with self.fleet() as fleet:
            client = await fleet.client(1)
            await fleet.servers[0].emit("x", value, [value])
            assert await client.once("x") == (value, [value])

    async def test_who_joins_and_leaves_is_heard_from_then_on(self) -> None:
        async with self.fleet() as fleet:
            client = await fleet.client(1)
            socket = fleet.socket(1, client)
            for number in range(3):
                await socket.join("a")
                await fleet.servers[0].to("a").emit("x", number)
                assert await client.once("x") == (number,)
                await socket.leave("a")
                await fleet.servers[0].to("a").emit("x", "nobody")
                await fleet.servers[0].emit(END)
                assert await heard(client) == []

    @pytest.mark.parametrize("name", ["a b", "*", "?", "[a]", "#", "/", "ä\U0001f600", "{x}", "a,b", "\x00", "-", "1"])
    async def test_names_of_rooms_mean_nothing_else(self, name: str) -> None:
        async with self.fleet() as fleet:
            client, other = await fleet.client(1, name), await fleet.client(1, "other", "ab")
            await fleet.servers[0].to(name).emit("x")
            await fleet.servers[0].except_(name).emit("y")
            await fleet.servers[0].emit(END)
            assert (await heard(client), await heard(other)) == ([["x"]], [["y"]])

    async def test_a_goodbye_still_leaves(self) -> None:
        async with self.fleet() as fleet:
            client = await fleet.client(0)
            async with open_fleet([self.cluster()], servers=3) as third:
                server = third.servers[0]
                await third.client(0, "a")
                server.of("/").adapter.on_leave_room(lambda room, sid: server.emit_nowait("goodbye", room))
            assert await client.once("goodbye") == ("a",)

    async def test_namespaces_that_come_and_go_find_each_other_again(self) -> None:
        async with self.fleet() as fleet:
            held = fleet.servers[0].of("/room-1")
            there = await fleet.client(1, namespace="/room-1")
            for number in range(3):
                here = await fleet.client(0, namespace="/room-1")
                await held.adapter.settled()
                await fleet.servers[1].of("/room-1").emit("y", number)
                assert await here.once("y") == (number,)
                await held.emit("x", number)
                assert await there.once("x") == (number,)
                await here.disconnect()
                await self.eventually(lambda: not held.sockets)
            await held.emit("x", "from nobody")
            assert await there.once("x") == ("from nobody",)
