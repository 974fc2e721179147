"""Clients that lose their connection and come back, while other servers go on emitting."""

from __future__ import annotations

from ...config import Config, Recovery
from .base import Suite

__all__ = ["Comebacks"]


class Comebacks(Suite):
    """Connection state recovery, with `Suite.REPLAYS`."""

    async def test_who_comes_back_gets_what_others_have_emitted(self) -> None:
        if not self.REPLAYS:
            return
        config = Config(connection_state_recovery=Recovery(max_disconnection=60))
        async with self.fleet(config=config) as fleet:
            client = await fleet.client(0, "a")
            await fleet.servers[1].to("a").emit("x", "before")
            (text, offset) = await client.once("x")
            assert text == "before"
            pid = client.pid
            await client.connection.abort()
            await self.eventually(lambda: client.id not in fleet.servers[0].of("/").sockets)
            await fleet.servers[1].to("a").emit("x", "while it was away")
            await fleet.servers[1].to("b").emit("x", "not for it")
            barrier = await fleet.client(0)
            await fleet.servers[1].emit("x", "to all")
            assert (await barrier.once("x"))[0] == "to all"
            again = await fleet.client(0, auth={"pid": pid, "offset": offset})
            assert again.id == client.id
            assert [(await again.once("x"))[0] for _ in range(2)] == ["while it was away", "to all"]

    async def test_what_was_not_for_it_stays_hidden_and_the_rest_is_in_order(self) -> None:
        if not self.REPLAYS:
            return
        async with self.fleet(config=Config(connection_state_recovery=Recovery(max_disconnection=60))) as fleet:
            client, barrier = await fleet.client(0), await fleet.client(0)
            here, there = fleet.servers
            await there.to(client.id).sockets_join("a")
            await there.emit("x", "before")
            (_, offset) = await client.once("x")
            assert fleet.socket(0, client).rooms == {client.id, "a"}
            await client.connection.abort()
            await self.eventually(lambda: client.id not in here.of("/").sockets)
            await barrier.once("x")
            expected = list[object]()
            for number in range(5):
                await there.to("a").emit("x", number, b"\x00")
                await there.except_("a").emit("x", "not for it")
                await there.volatile().emit("x", "volatile")
                await there.of("/chat").emit("x", "elsewhere")
                await there.emit("barrier")
                await barrier.once("barrier")
                await here.to("a").emit("x", -number, b"\x01")
                expected += [("x", number, b"\x00"), ("barrier",), ("x", -number, b"\x01")]
            again = await fleet.client(0, auth={"pid": client.pid, "offset": offset})
            got = [await again.receive() for _ in expected]
            # The last argument of each is its offset.
            assert [(event.name, *event.args[:-1]) for event in got] == expected
            assert fleet.socket(0, again).recovered

    async def test_who_comes_to_another_server_is_the_same_there_and_gets_what_was_missed(self) -> None:
        if not self.RECOVERS_ELSEWHERE:
            return
        async with self.fleet(3, config=Config(connection_state_recovery=Recovery(max_disconnection=60))) as fleet:
            client = await fleet.client(0, "a")
            socket = fleet.socket(0, client)
            socket.data["name"] = "Ann"
            await fleet.servers[1].to("a").emit("x", "before")
            (_, offset) = await client.once("x")
            await client.connection.abort()
            await self.eventually(lambda: client.id not in fleet.servers[0].of("/").sockets)
            for number, server in enumerate(fleet.servers):
                await server.to("a").emit("x", number, b"\x00")
                await server.to("b").emit("x", "not for it")
            again = await fleet.client(1, auth={"pid": client.pid, "offset": offset})
            there = fleet.socket(1, again)
            assert (there.id, there.rooms, there.data, there.recovered) == (client.id, frozenset({client.id, "a"}), {"name": "Ann"}, True)
            got = [await again.once("x") for _ in fleet.servers]
            assert sorted((number, data) for number, data, _ in got) == [(number, b"\x00") for number in range(3)]
            await fleet.servers[2].to(client.id).emit("x", "after")
            assert (await again.once("x"))[0] == "after"
            # It is no longer where it was.
            await again.connection.abort()
            await self.eventually(lambda: client.id not in fleet.servers[1].of("/").sockets)
            third = await fleet.client(2, auth={"pid": client.pid, "offset": got[-1][-1]})
            assert fleet.socket(2, third).recovered
            assert (await third.once("x"))[0] == "after"

    async def test_who_comes_to_another_server_with_a_wrong_secret_is_new(self) -> None:
        async with self.fleet(config=Config(connection_state_recovery=Recovery(max_disconnection=60))) as fleet:
            client = await fleet.client(1, auth={"pid": "invented", "offset": "invented"})
            assert not fleet.socket(1, client).recovered
            await fleet.servers[0].emit("x", 1)
            assert (await client.once("x"))[0] == 1
