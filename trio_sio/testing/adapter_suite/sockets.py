"""Sockets of other servers: found, described, and told what to do."""

from __future__ import annotations

import pytest

from ...errors import Disconnected
from ...namespaces.remote import RemoteSocket
from ...namespaces.socket import Socket
from .base import END, Suite, heard

__all__ = ["Sockets"]


class Sockets(Suite):
    """Sockets, wherever they are."""

    async def test_sockets_of_all_servers_are_found(self) -> None:
        async with self.fleet() as fleet:
            here, there = await fleet.client(0, "a"), await fleet.client(1, "a", "b", auth={"token": "x"})
            fleet.socket(1, there).data["name"] = "Ann"
            found = {socket.id: socket for socket in await fleet.servers[0].to("a").fetch_sockets()}
            assert found.keys() == {here.id, there.id}
            assert isinstance(found[here.id], Socket)
            remote = found[there.id]
            assert isinstance(remote, RemoteSocket)
            assert (remote.rooms, remote.data, remote.handshake.auth) == (frozenset({there.id, "a", "b"}), {"name": "Ann"}, {"token": "x"})
            assert await fleet.servers[0].to("a").count_sockets() == 2
            assert await fleet.servers[0].to("b").except_("a").count_sockets() == 0
            assert not (await fleet.servers[0].fetch_sockets()).missing

    async def test_a_socket_of_another_server_does_as_it_is_told(self) -> None:
        async with self.fleet() as fleet:
            client = await fleet.client(1, "a")
            client.on("question", lambda: "answer")
            (remote,) = await fleet.servers[0].fetch_sockets()
            await remote.emit("x", 1)
            assert await client.once("x") == (1,)
            assert await remote.emit_with_ack("question") == "answer"
            await remote.join("b")
            await remote.leave("a")
            await self.eventually(lambda: fleet.socket(1, client).rooms == {client.id, "b"})
            await remote.disconnect()
            assert (await client.closed()).disconnected
            with pytest.raises(Disconnected):
                await remote.emit_with_ack("question")

    async def test_sockets_everywhere_join_leave_and_are_disconnected(self) -> None:
        async with self.fleet() as fleet:
            clients = [await fleet.client(number, "a") for number in (0, 1)]
            outside = await fleet.client(1)
            sockets = [fleet.socket(0, clients[0]), fleet.socket(1, clients[1])]
            await fleet.servers[0].to("a").sockets_join("b", "c")
            await self.eventually(lambda: all({"a", "b", "c"} < socket.rooms for socket in sockets))
            await fleet.servers[1].to("b").sockets_leave("a", "c")
            await self.eventually(lambda: all({"b", socket.id} == socket.rooms for socket in sockets))
            await fleet.servers[0].to("b").disconnect_sockets()
            assert [(await client.closed()).disconnected for client in clients] == [True, True]
            assert fleet.socket(1, outside).connected
            await fleet.servers[0].disconnect_sockets(close=True)
            assert await outside.connection.closed()

    async def test_what_is_known_of_a_socket_is_what_its_server_knows(self) -> None:
        async with self.fleet() as fleet:
            client = await fleet.client(1, auth={"token": "x", "n": [1, None]})
            socket = fleet.socket(1, client)
            socket.data.update({"text": "ä", "deep": {"list": [1, 2.5, True, None]}})
            (remote,) = await fleet.servers[0].fetch_sockets()
            ours, theirs = socket.handshake, remote.handshake
            assert (theirs.auth, theirs.query, theirs.address) == (ours.auth, ours.query, ours.address)
            assert dict(theirs.headers) == dict(ours.headers)
            assert theirs.issued == pytest.approx(ours.issued, abs=0.01)
            assert (theirs.secure, remote.data, remote.rooms) == (ours.secure, socket.data, socket.rooms)

    async def test_many_sockets_are_found(self) -> None:
        async with self.fleet() as fleet:
            clients = [await fleet.client(number % 2, *(["a"] if number % 3 else [])) for number in range(60)]
            for number, server in enumerate(fleet.servers):
                found = await server.fetch_sockets()
                assert {socket.id for socket in found} == {client.id for client in clients}
                assert len(found) == 60
                assert sum(isinstance(socket, Socket) for socket in found) == 30
                assert await server.to("a").count_sockets() == 40
                assert await server.local.to("a").count_sockets() == sum(1 for one in range(number, 60, 2) if one % 3)

    async def test_who_is_not_there_is_not_found_and_does_nothing(self) -> None:
        async with self.fleet() as fleet:
            client = await fleet.client(1, "a")
            server = fleet.servers[0]
            assert await server.to("nobody").fetch_sockets() == []
            await server.to("nobody").sockets_join("b")
            await server.to("*").sockets_leave("a")
            await server.to("nobody", "?").disconnect_sockets(close=True)
            await server.except_("a").disconnect_sockets()
            await server.emit(END)
            assert await heard(client) == []
            assert fleet.socket(1, client).rooms == {client.id, "a"}

    async def test_commands_and_events_are_heard_in_their_order(self) -> None:
        async with self.fleet() as fleet:
            client = await fleet.client(1)
            for number in range(10):
                await fleet.servers[0].to(client.id).sockets_join("a")
                await fleet.servers[0].to("a").emit("x", number)
                await fleet.servers[0].to("a").sockets_leave("a")
                await fleet.servers[0].to("a").emit("x", "nobody")
            await fleet.servers[0].emit(END)
            assert await heard(client) == [["x", number] for number in range(10)]
