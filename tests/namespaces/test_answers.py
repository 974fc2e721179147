"""Broadcasts that are answered: by everybody, by some, by nobody, and by clients of other servers."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
import trio.testing

from tests.level import unchanged
from tests.namespaces.serving import Handler, open_namespaces
from trio_sio import AckTimeout, BroadcastAnswers, Config, EncodeError, Limits, Namespace
from trio_sio.namespaces.adapter import Adapter, Broadcast, InMemoryAdapter
from trio_sio.namespaces.socket import Socket
from trio_sio.protocol.frames import EncodedPacket
from trio_sio.testing import InMemoryServer
from trio_sio.testing.strict import StrictSocket

Clock = trio.testing.MockClock


class Crowd:
    """Some clients of ``/``, each with the socket that the server has for it."""

    def __init__(self, server: InMemoryServer, handler: Handler, clients: list[StrictSocket]) -> None:
        self.server = server
        self.clients = clients
        self.sockets = {socket.id: socket for socket in handler.sockets}

    @property
    def namespace(self) -> Namespace:
        return next(iter(self.sockets.values())).namespace

    def require_nothing_left(self) -> None:
        """Nobody waits for anything any more."""
        assert [socket._core.waiters._answers or {} for socket in self.sockets.values()] == [{}] * len(self.sockets)
        assert [socket.client.inbox._awaited for socket in self.sockets.values()] == [0] * len(self.sockets)


@asynccontextmanager
async def crowd(count: int, config: Config | None = None, adapter: Callable[[Namespace], Adapter] | None = None) -> AsyncIterator[Crowd]:
    handler = Handler()
    async with open_namespaces(handler, config, adapter) as server, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(server.strict_client()) for _ in range(count)]
        yield Crowd(server, handler, clients)


async def test_everybody_is_asked_with_one_packet_and_the_answers_come_in_their_order(autojump_clock: Clock) -> None:
    async with crowd(3) as people, unchanged(people.server.server):
        for client, delay in zip(people.clients, (3, 1, 2), strict=True):

            async def answer(word: str, delay: int = delay) -> object:
                await trio.sleep(delay)
                return [word, delay]

            client.on("question", answer)

        assert await people.namespace.emit_with_ack("question", "x") == [["x", 1], ["x", 2], ["x", 3]]
        assert people.namespace.next_ack_id() == 1  # one id for all of them
        people.require_nothing_left()


@pytest.mark.parametrize(("answer", "value"), [((), None), ((7,), 7), ((1, 2), (1, 2)), ((b"\x00",), b"\x00")])
async def test_an_answer_looks_like_that_of_one_socket(answer: tuple[object, ...], value: object, autojump_clock: Clock) -> None:
    async with crowd(1) as people:
        people.clients[0].on("question", lambda: answer)

        assert await people.namespace.emit_with_ack("question") == [value]
        async with people.namespace.acks("question") as answers:
            assert [args async for _, args in answers] == [answer]


async def test_the_stream_gives_each_answer_as_it_comes_and_says_whose_it_is(autojump_clock: Clock) -> None:
    async with crowd(3) as people:
        gates = [trio.Event() for _ in people.clients]
        for number, (client, gate) in enumerate(zip(people.clients, gates, strict=True)):

            async def answer(number: int = number, gate: trio.Event = gate) -> int:
                await gate.wait()
                return number

            client.on("question", answer)

        async with people.namespace.timeout(5).acks("question") as answers:
            for number in (1, 2, 0):
                assert people.clients[number].id in answers.missing
                gates[number].set()
                assert await anext(answers) == (people.clients[number].id, (number,))
            with pytest.raises(StopAsyncIteration):
                await anext(answers)
            assert answers.missing == []


async def test_answers_that_came_before_anybody_looked_are_kept(autojump_clock: Clock) -> None:
    async with crowd(2) as people:
        for client in people.clients:
            client.on("question", lambda: "yes")
        async with people.namespace.timeout(5).acks("question") as answers:
            await trio.sleep(100)

            assert [args async for _, args in answers] == [("yes",), ("yes",)]


async def test_nobody_to_ask_is_an_empty_list_at_once(autojump_clock: Clock) -> None:
    async with crowd(1) as people:
        start = trio.current_time()
        assert await people.namespace.to("nowhere").timeout(math.inf).emit_with_ack("question") == []
        assert trio.current_time() == start


async def test_only_those_addressed_are_asked(autojump_clock: Clock) -> None:
    async with crowd(3) as people:
        for number, client in enumerate(people.clients):
            client.on("question", lambda number=number: number)
        first, second, _ = people.clients
        await people.sockets[first.id].join("a", "b")
        await people.sockets[second.id].join("a")

        assert sorted(map(str, await people.namespace.to("a", "b").emit_with_ack("question"))) == ["0", "1"]
        assert await people.namespace.to("a").except_("b").emit_with_ack("question") == [1]
        assert sorted(map(str, await people.sockets[first.id].broadcast.emit_with_ack("question"))) == ["1", "2"]


@pytest.mark.hostile("S44")
async def test_when_the_time_is_over_what_came_is_in_the_exception(autojump_clock: Clock) -> None:
    async with crowd(3, Config(ack_timeout=7)) as people, unchanged(people.server.server):
        quick, *_ = people.clients
        quick.on("question", lambda: "here")
        start = trio.current_time()
        with pytest.raises(AckTimeout, match="Not everybody answered in time") as raised:
            await people.namespace.emit_with_ack("question")

        assert trio.current_time() == start + 7
        assert isinstance(raised.value, trio.TooSlowError)
        assert raised.value.responses == ["here"]
        assert sorted(raised.value.missing) == sorted(client.id for client in people.clients[1:])
        people.require_nothing_left()

        with pytest.raises(AckTimeout):
            await people.namespace.timeout(2).emit_with_ack("question")
        assert trio.current_time() == start + 9
        people.require_nothing_left()


async def test_the_stream_ends_with_the_same_exception(autojump_clock: Clock) -> None:
    async with crowd(2) as people:
        people.clients[0].on("question", lambda: 1)
        heard = []
        with pytest.raises(AckTimeout) as raised:
            async with people.namespace.timeout(2).acks("question") as answers:
                async for sid, args in answers:
                    heard.append((sid, args))

        assert heard == [(people.clients[0].id, (1,))]
        assert (raised.value.responses, raised.value.missing) == ([1], [people.clients[1].id])
        people.require_nothing_left()


@pytest.mark.parametrize("how", ["client leaves", "connection breaks", "server disconnects"])
async def test_who_goes_is_not_waited_for(how: str, autojump_clock: Clock) -> None:
    async with crowd(2) as people, trio.open_nursery() as nursery:
        stays, goes = people.clients
        stays.on("question", lambda: "here")
        missing = list[str]()

        async def ask() -> None:
            start = trio.current_time()
            async with people.namespace.timeout(1000).acks("question") as answers:
                assert [sid async for sid, _ in answers] == [stays.id]
                missing.extend(answers.missing)
            assert trio.current_time() == start

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        if how == "client leaves":
            await goes.disconnect()
        elif how == "connection breaks":
            await goes.connection.abort()
        else:
            await people.sockets[goes.id].disconnect()
        await trio.testing.wait_all_tasks_blocked()

        assert missing == [goes.id]
        people.require_nothing_left()


async def test_a_slow_consumer_is_disconnected_and_not_waited_for(autojump_clock: Clock) -> None:
    async with crowd(2, Config(slow_consumer="drop", limits=Limits(outbox_packets=2))) as people:
        quick, slow = people.clients
        quick.on("question", lambda: "here")
        outbox = people.sockets[slow.id].outbox
        outbox.notify = lambda: None  # from here on its wire takes nothing
        while outbox.offer(EncodedPacket(b'42["filler"]')):
            pass
        start = trio.current_time()

        assert await people.namespace.timeout(math.inf).emit_with_ack("question") == ["here"]
        assert trio.current_time() == start  # a question is not dropped, even where events are: that would be waited for
        assert not people.sockets[slow.id].connected


@pytest.mark.hostile("P15")
async def test_a_cancelled_question_leaves_nothing(autojump_clock: Clock) -> None:
    async with crowd(3) as people, unchanged(people.server.server):
        with trio.move_on_after(1) as scope:
            await people.namespace.emit_with_ack("question")
        assert scope.cancelled_caught
        people.require_nothing_left()


@pytest.mark.hostile("S43")
async def test_leaving_the_stream_early_leaves_nothing_and_late_answers_are_passed_over(autojump_clock: Clock) -> None:
    async with crowd(2) as people:
        first, second = people.clients
        first.on("question", lambda: 1)

        async def late() -> int:
            await trio.sleep(10)
            return 2

        second.on("question", late)
        async with people.namespace.acks("question") as answers:
            async for _ in answers:
                break
        people.require_nothing_left()
        await trio.sleep(20)

        assert second.connected


@pytest.mark.hostile("P18")
async def test_a_question_that_cannot_be_encoded_asks_nobody(autojump_clock: Clock) -> None:
    async with crowd(2, Config(limits=Limits(outbox_bytes=100))) as people:
        for event, arg in [("question", object()), ("disconnect", 1), ("question", "x" * 100)]:
            with pytest.raises(EncodeError):
                await people.namespace.emit_with_ack(event, arg)

        people.require_nothing_left()
        assert [client.pending for client in people.clients] == [(), ()]


@pytest.mark.parametrize("seconds", [-1, math.nan])
async def test_a_time_that_makes_no_sense_asks_nobody(seconds: float, autojump_clock: Clock) -> None:
    async with crowd(1) as people:
        with pytest.raises(ValueError, match="it must be a number of at least 0"):
            await people.namespace.timeout(seconds).emit_with_ack("question")

        people.require_nothing_left()
        assert people.clients[0].pending == ()


async def test_a_client_is_read_on_as_long_as_its_answer_is_awaited(autojump_clock: Clock) -> None:
    async def receive(socket: Socket, packet: object) -> None:
        answers.extend(await socket.namespace.timeout(5).emit_with_ack("question"))

    answers = list[object]()
    handler = Handler(receive)
    async with open_namespaces(handler, Config(limits=Limits(inbox_events=2))) as server, server.strict_client() as client:
        client.on("question", lambda: "through")
        for number in range(6):
            await client.emit("x", number)
        await trio.sleep(20)

        assert answers == ["through"] * 6


class Cluster(InMemoryAdapter):
    """Pretends that there is another server with ``remote`` clients, which answer one after the other, a second each."""

    remote = 2
    nursery: trio.Nursery

    def broadcast_with_ack(self, broadcast: Broadcast, answers: BroadcastAnswers) -> None:
        answers.expect(1)  # how many there are is not known yet
        super().broadcast_with_ack(broadcast, answers)
        self.nursery.start_soon(self._answer, answers)

    async def _answer(self, answers: BroadcastAnswers) -> None:
        await trio.sleep(1)
        answers.expect(self.remote - 1)
        for number in range(self.remote):
            await trio.sleep(1)
            answers.arrive(None, (f"remote {number}",))


@pytest.mark.parametrize("remote", [0, 1, 3])
async def test_clients_of_other_servers_are_waited_for_too(remote: int, autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cluster, "remote", remote)
    async with trio.open_nursery() as Cluster.nursery, crowd(1, adapter=Cluster) as people:
        people.clients[0].on("question", lambda: "local")
        start = trio.current_time()

        async with people.namespace.timeout(60).acks("question") as answers:
            assert [sid async for sid, _ in answers] == [people.clients[0].id, *[None] * remote]
            assert answers.responses == ["local", *[f"remote {number}" for number in range(remote)]]
        assert trio.current_time() == start + 1 + remote


async def test_who_is_missing_elsewhere_is_not_known(autojump_clock: Clock) -> None:
    async with trio.open_nursery() as Cluster.nursery, crowd(0, adapter=Cluster) as people:
        namespace = people.server.server.of("/")  # type: ignore[union-attr]
        with pytest.raises(AckTimeout) as raised:
            await namespace.timeout(2.5).emit_with_ack("question")

        assert (raised.value.responses, raised.value.missing) == (["remote 0"], [])
