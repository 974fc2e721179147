"""A logout by one server reaches whoever is about to come in, or may come back, on another."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.namespaces.recovering import Peer
from tests.namespaces.serving import settle
from trio_sio import Config, Context, Next, Recovery, Route, RoutingTable, Server, on_message
from trio_sio.testing import LoopbackNetwork, open_test_server

Clock = trio.testing.MockClock


class Private:
    @on_message("x")
    def x(self) -> None: ...


async def authenticate(ctx: Context, call_next: Next) -> object:
    auth = ctx.socket.handshake.auth
    await ctx.socket.join(f"user:{auth.get('user', 1)}")
    if "wait" in auth:
        await trio.sleep(auth["wait"])
    return await call_next()


@pytest.mark.hostile("R90", "R91")
async def test_it_reaches_those_who_arrive_and_those_who_are_away_elsewhere(autojump_clock: Clock) -> None:
    network = LoopbackNetwork()
    routes = RoutingTable(Route("/", Private()), connection_middleware=[authenticate])
    config = Config(connection_state_recovery=Recovery())
    first, second = (Server(routes, config=config, cluster=network.cluster()) for _ in range(2))
    async with open_test_server(first) as here, open_test_server(second) as there:
        somebody = Peer(here)
        await somebody.connect(user=2)
        away, other, arriving = (Peer(there) for _ in range(3))
        await away.connect(user=1)
        await other.connect(user=2)
        await away.cut()
        await other.cut()
        await arriving.open()
        await arriving.ask(user=1, wait=30)
        await trio.sleep(1)
        assert len(second.of("/").arriving) == 1
        await first.in_("user:1").disconnect_sockets()
        assert await arriving.receive() == '44{"message":"Connection refused"}'
        await settle()
        assert not await away.connect()
        assert await other.connect()
        assert first.of("/").connected[somebody.id].connected
        for peer in (somebody, away, other, arriving):
            await peer.cut()
