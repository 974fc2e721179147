"""The conformance suite for clusters: what every one of them promises, whatever carries its messages.

Make a subclass in a test file and say there how to make one; pytest and pytest-trio run the rest::

    class TestMyCluster(AdapterSuite):
        def cluster(self) -> Cluster:
            return MyCluster("my://localhost")

A test that checks that something does not arrive lets something else follow it on the same way, so none of them depends on luck:
what one server emits reaches another in its order.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest
import trio

from ..config import Config, Recovery
from ..errors import Disconnected, EncodeError
from ..namespaces.adapter import Cluster
from ..namespaces.answers import AckTimeout
from ..namespaces.remote import RemoteSocket
from ..namespaces.socket import Socket
from .fleet import Fleet, open_fleet
from .strict import StrictSocket

__all__ = ["AdapterSuite"]

END = "end of the test"


async def heard(client: StrictSocket) -> list[object]:
    """Return the events that ``client`` got before `END`: of one argument that alone, of none or several a list."""
    events = list[object]()
    while (event := await client.receive()).name != END:
        events.append([event.name, *event.args])
    return events


class AdapterSuite:
    """What every cluster promises.

    Attributes:
      PATIENCE: Seconds after which an answer that has not come will not come.
      REPLAYS: Whether clients that come back to the server they were on get what others have emitted meanwhile.
      TELLS_OF_LOST_ANSWERS: Whether nobody waits for a client of another server that goes without an answer.
      NAMES_THE_MISSING: Whether it is known which servers did not answer.
    """

    PATIENCE: ClassVar[float] = 2.0
    REPLAYS: ClassVar[bool] = True
    TELLS_OF_LOST_ANSWERS: ClassVar[bool] = True
    NAMES_THE_MISSING: ClassVar[bool] = True

    @abstractmethod
    def cluster(self) -> Cluster:
        """Return what connects one more server with the others of this test."""

    @asynccontextmanager
    async def fleet(self, servers: int = 2, config: Config | None = None) -> AsyncIterator[Fleet]:
        """Run so many servers that know each other."""
        async with open_fleet([self.cluster() for _ in range(servers)], config) as fleet:
            yield fleet

    # Broadcasts.

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

    # Answers.

    async def test_everybody_answers_wherever_they_are(self) -> None:
        async with self.fleet(3) as fleet:
            for number in range(5):
                client = await fleet.client(number % 3, "a" if number else "b")
                client.on("question", lambda text, number=number: f"{text} {number}")
            assert sorted(map(str, await fleet.servers[0].emit_with_ack("question", "n"))) == [f"n {number}" for number in range(5)]
            assert sorted(map(str, await fleet.servers[1].to("a").emit_with_ack("question", "n"))) == [f"n {n}" for n in (1, 2, 3, 4)]
            assert await fleet.servers[2].to("b").emit_with_ack("question", "n") == ["n 0"]
            assert await fleet.servers[2].to("nobody").emit_with_ack("question", "n") == []

    @pytest.mark.parametrize(("answer", "value"), [(None, None), (b"\x01", b"\x01"), ({"a": [1]}, {"a": [1]}), ((1, 2), [1, 2])])
    async def test_an_answer_is_what_it_was(self, answer: object, value: object) -> None:
        async with self.fleet() as fleet:
            client = await fleet.client(1)
            client.on("question", lambda: answer)
            assert await fleet.servers[0].emit_with_ack("question") == [value]

    async def test_questions_of_two_servers_to_one_client_do_not_mix(self) -> None:
        async with self.fleet() as fleet:
            client = await fleet.client(1)
            gates = {number: trio.Event() for number in range(2)}

            async def answer(number: int) -> int:
                await gates[number].wait()
                return number

            client.on("question", answer)
            async with trio.open_nursery() as nursery:
                got = dict[int, object]()

                async def ask(number: int) -> None:
                    got[number] = await fleet.servers[number].emit_with_ack("question", number)

                nursery.start_soon(ask, 0)
                nursery.start_soon(ask, 1)
                gates[1].set()
                gates[0].set()
            assert got == {0: [0], 1: [1]}

    async def test_who_does_not_answer_is_not_waited_for_longer_than_that(self) -> None:
        async with self.fleet() as fleet:
            talkative, silent = await fleet.client(0), await fleet.client(1)
            talkative.on("question", lambda: "here")
            with pytest.raises(AckTimeout) as raised:
                await fleet.servers[0].timeout(self.PATIENCE).emit_with_ack("question")
            assert raised.value.responses == ["here"]
            assert len(raised.value.missing) == self.NAMES_THE_MISSING
            assert await silent.once("question") == ()

    async def test_who_goes_without_an_answer_is_not_waited_for(self) -> None:
        async with self.fleet(config=Config(ack_timeout=self.PATIENCE)) as fleet:
            stays, goes = await fleet.client(1), await fleet.client(1)
            stays.on("question", lambda: "here")
            goes.on("question", lambda: fleet.socket(1, goes).disconnect_nowait())
            try:
                answers = await fleet.servers[0].emit_with_ack("question")
            except AckTimeout as error:
                assert not self.TELLS_OF_LOST_ANSWERS
                answers = error.responses
            assert answers == ["here"]

    async def test_who_gives_up_asking_leaves_nothing_behind(self) -> None:
        async with self.fleet() as fleet:
            client = await fleet.client(1)
            for _ in range(3):
                with trio.move_on_after(0.05):
                    await fleet.servers[0].emit_with_ack("question")
            client.on("question", lambda: "now")
            assert await fleet.servers[0].emit_with_ack("question") == ["now"]

    # Sockets.

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

    # Servers.

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

    # Those who listen in a server.

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

    # Recovery.

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

    # What the suite itself needs.

    async def eventually(self, condition: Any) -> None:
        """Wait until ``condition()``, for ten seconds at most."""
        with trio.fail_after(10):
            while not condition():  # noqa: ASYNC110  # of anything
                await trio.sleep(0.01)
