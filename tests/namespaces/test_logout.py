"""Who is thrown out is out: also who is only about to come in, or has lost the connection and would be recovered."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import trio
import trio.testing

from tests.level import unchanged
from tests.namespaces.recovering import Stage, open_stage
from tests.namespaces.serving import settle
from trio_sio import Context, Next, Route, RoutingTable, Server, Socket, on_connection
from trio_sio.namespaces.adapter import InMemoryAdapter, Target
from trio_sio.testing import open_test_server

MockClock = trio.testing.MockClock


# A socket that has shown its token.


async def authenticate(ctx: Context, call_next: Next) -> object:
    await ctx.socket.join(f"user:{ctx.socket.handshake.auth['user']}")
    return await call_next()


async def look_up(ctx: Context, call_next: Next) -> object:
    for _ in range(5):
        await trio.lowlevel.checkpoint()
    return await call_next()


class Private:
    def __init__(self) -> None:
        self.came = 0

    @on_connection
    async def joined(self) -> None:
        self.came += 1
        await trio.lowlevel.checkpoint()


@dataclass(eq=False)
class LogOut(trio.abc.Instrument):
    """Logs a person out when so many steps of tasks are over since the socket joined the room of that person."""

    server: Server
    step: int
    joined: bool = False
    steps: int = 0
    states: list[str] = field(default_factory=list)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        namespace = self.server.of("/")
        arriving = [socket for socket in namespace.arriving if "user:1" in socket.rooms]
        self.joined = self.joined or bool(arriving)
        if not self.joined:
            return
        self.steps += 1
        if self.steps == self.step:
            self.states.append("arriving" if arriving else "connected" if namespace.connected else "gone")
            adapter = namespace.adapter
            assert isinstance(adapter, InMemoryAdapter)
            adapter.disconnect_members(Target(rooms=frozenset(("user:1",))), close=False, reason=None)


@pytest.mark.hostile("R90")
async def test_a_logout_reaches_a_socket_at_every_step_between_its_room_and_connect() -> None:
    seen: list[str] = []
    while "connected" not in seen:
        private = Private()
        table = RoutingTable(Route("/", private, connection_middleware=[authenticate, look_up]))
        async with open_test_server(table) as memory, unchanged(memory.server), await memory.websocket() as client:
            assert isinstance(memory.server, Server)
            await client.receive()
            log_out = LogOut(memory.server, len(seen) + 1)
            trio.lowlevel.add_instrument(log_out)
            try:
                await client.send('40{"user":1}')
                await settle()
            finally:
                trio.lowlevel.remove_instrument(log_out)
            seen += log_out.states
            assert not memory.server.of("/").sockets
            assert not memory.server.of("/").arriving
            answer = str(await client.receive())
            if log_out.states == ["arriving"]:
                assert answer == '44{"message":"Connection refused"}'
                assert private.came == 0
            else:
                assert answer.startswith('40{"sid"')
                assert await client.receive() == "41"
    assert seen.count("arriving") > 5


async def test_who_is_not_in_the_room_yet_is_left_alone_and_everybody_is_everybody() -> None:
    go = trio.Event()

    async def wait(ctx: Context, call_next: Next) -> object:
        if ctx.socket.handshake.auth["user"] != 3:
            await go.wait()
        return await call_next()

    table = RoutingTable(Route("/", Private(), connection_middleware=[authenticate, wait]))
    async with open_test_server(table) as memory, trio.open_nursery() as nursery:
        server = memory.server
        assert isinstance(server, Server)
        answers: dict[int, str] = {}

        async def connect(user: int) -> None:
            async with await memory.websocket() as client:
                await client.receive()
                await client.send(f'40{{"user":{user}}}')
                answers[user] = str(await client.receive())[:2]
                await trio.sleep_forever()

        for user in (1, 2, 3):
            nursery.start_soon(connect, user)
        await settle()
        assert {socket.handshake.auth["user"] for socket in server.of("/").arriving} == {1, 2}
        await server.in_("user:1").disconnect_sockets()
        await settle()
        assert answers == {1: "44", 3: "40"}
        await server.except_("user:3").disconnect_sockets()
        await settle()
        assert answers == {1: "44", 2: "44", 3: "40"}
        nursery.cancel_scope.cancel()


# A client that is away.


async def join_room(socket: Socket) -> None:
    if not socket.recovered:
        await socket.join("user:1")


@pytest.mark.hostile("R91")
async def test_a_client_that_is_away_when_it_is_thrown_out_is_not_recovered(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        stage.on_hook = join_room
        expired: list[str] = []
        stage.server.of("/").on_session_expired(lambda session: expired.append(session.id))
        ann, bob = stage.peer(), stage.peer()
        await ann.connect()
        stage.on_hook = None
        await bob.connect()
        first = ann.id
        await ann.cut()
        await bob.cut()
        await stage.server.in_("user:1").disconnect_sockets()
        assert expired == [first]
        assert not await ann.connect()
        assert await bob.connect()
        assert not stage.server.of("/").adapter.rooms_of(stage.sockets[-2])
        await ann.leave()
        await bob.leave()
    assert not stage.store()._parted


async def test_nor_is_one_whose_last_handlers_are_still_running(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        stage.on_hook = join_room

        async def tidy_up(socket: Socket) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(2)

        stage.on_gone = tidy_up
        peer = stage.peer()
        await peer.connect()
        first = peer.id
        await peer.cut()
        await peer.open()
        await peer.ask()
        await settle()
        await stage.server.in_("user:1").disconnect_sockets()
        await peer.joined()
        assert (peer.recovered, peer.id == first) == (False, False)


async def test_nor_is_one_that_connection_middleware_looks_at(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        stage.on_hook = join_room
        peer = stage.peer()
        await peer.connect()
        await peer.cut()

        async def wait(socket: Socket) -> None:
            await trio.sleep(1)

        stage.guard = wait
        await peer.open()
        await peer.ask()
        await settle()
        await stage.server.in_("user:1").disconnect_sockets()
        assert str(await peer.receive()) == '44{"message":"Connection refused"}'
        await peer.cut()
        assert not await peer.connect()
        assert (len(stage.store()), stage.store().given_up) == (0, 1)


async def test_coming_back_is_cancelled_and_thrown_out(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        stage.on_hook = join_room
        await _cut_while_it_waits(stage)
        await stage.server.in_("user:1").disconnect_sockets()
        await trio.sleep(5)
        assert (len(stage.store()), stage.store().given_up) == (0, 1)
        assert not await stage.peers[0].connect()


async def _cut_while_it_waits(stage: Stage) -> None:
    async def tidy_up(socket: Socket) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(2)

    stage.on_gone = tidy_up
    peer = stage.peer()
    await peer.connect()
    await peer.cut()
    await peer.open()
    await peer.ask()
    await settle()
    stage.on_gone = None
    await stage.server.in_("user:1").disconnect_sockets()
    await peer.cut()
