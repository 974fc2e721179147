"""Those who listen in a server: tasks, and functions of sockets."""

from __future__ import annotations

from .base import END, Suite, heard

__all__ = ["Listeners"]


class Listeners(Suite):
    """Subscriptions, and `Socket.on_any_outgoing`."""

    async def test_tasks_hear_what_other_servers_emit(self) -> None:
        async with (
            self.fleet() as fleet,
            fleet.servers[1].subscribe("a") as channel,
            fleet.servers[1].of("/room-7").subscribe() as other,
        ):
            await fleet.servers[0].to("b").emit("x")
            await fleet.servers[0].to("a").emit("y", {"n": 1})
            assert await channel.receive() == ("y", ({"n": 1},))
            await fleet.servers[1].of("/room-7").adapter.settled()
            await fleet.servers[0].of("/room-7").emit("z")
            assert await other.receive() == ("z", ())

    async def test_sockets_overhear_what_other_servers_emit(self) -> None:
        async with self.fleet() as fleet:
            client = await fleet.client(1)
            heard = list[tuple[object, ...]]()
            fleet.socket(1, client).on_any_outgoing(lambda *event: heard.append(event))
            await fleet.servers[0].emit("x", 1)
            assert await client.once("x") == (1,)
            assert heard == [("x", 1)]

    async def test_tasks_hear_what_clients_in_their_rooms_hear_in_the_same_order(self) -> None:
        async with self.fleet() as fleet, fleet.servers[1].subscribe("a", "b", size=100) as channel:
            client = await fleet.client(1, "a", "b")
            server = fleet.servers[0]
            for number in range(10):
                await server.to("a", "b").emit("x", number)
                await server.to("c").emit("not here")
                await server.except_("b").emit("not for it")
                await server.volatile().emit("all", b"\x00")
                await server.local.to("a").emit("not there")
            await server.emit(END)
            events = await heard(client)
            assert events == [event for number in range(10) for event in (["x", number], ["all", b"\x00"])]
            assert [[event.name, *event.args] for event in [await channel.receive() for _ in events]] == events
            assert await channel.receive() == (END, ())

    async def test_what_a_task_says_in_turn_comes_behind_what_it_has_heard(self) -> None:
        async with self.fleet() as fleet:
            client = await fleet.client(0)
            listener = await fleet.client(1)
            server = fleet.servers[1]
            fleet.socket(1, listener).on_any_outgoing(lambda name, *args: server.emit_nowait("echo", *args) if name == "x" else None)
            for number in range(5):
                await fleet.servers[0].emit("x", number)
                assert await client.once("echo") == (number,)
            server.emit_nowait("x", 5)
            server.emit_nowait(END)
            expected = [[name, number] for number in range(6) for name in ("x", "echo")]
            assert await heard(listener) == expected
            assert (await heard(client))[-2:] == expected[-2:]

    async def test_who_listens_is_nobody(self) -> None:
        async with self.fleet() as fleet, fleet.servers[1].subscribe("a"):
            assert await fleet.servers[0].to("a").fetch_sockets() == []
            assert await fleet.servers[0].to("a").emit_with_ack("question") == []
