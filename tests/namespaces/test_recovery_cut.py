"""Connection state recovery that is cut itself, wherever that is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
import trio
import trio.testing

from tests.namespaces.recovering import CONFIG, Peer, Stage, open_stage
from trio_sio import Socket

MockClock = trio.testing.MockClock

Ending = Callable[[Stage, Peer], Awaitable[None]]


async def cut_in_middleware(stage: Stage, peer: Peer) -> None:
    stage.guard = wait_for_ever


async def cut_in_hook(stage: Stage, peer: Peer) -> None:
    stage.on_hook = wait_for_ever


async def cut_while_the_old_one_ends(stage: Stage, peer: Peer) -> None:
    stage.sockets[0].start_soon(end_slowly)


async def end_slowly() -> None:
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(3)


async def wait_for_ever(socket: Socket) -> None:
    await trio.sleep_forever()


@pytest.mark.hostile("P16")
@pytest.mark.parametrize("where", [cut_in_middleware, cut_in_hook, cut_while_the_old_one_ends])
async def test_recovery_that_is_cut_can_be_tried_again(where: Ending, autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        peer = stage.peer()
        await peer.connect()
        await stage.server.emit("all", 1)
        await peer.heard()
        await where(stage, peer)
        await trio.testing.wait_all_tasks_blocked()
        await peer.cut()
        await stage.server.emit("all", 2)
        for _ in range(2):
            await peer.open()
            await peer.ask()
            await trio.testing.wait_all_tasks_blocked()
            await peer.cut()
        assert len(stage.store()) == 1
        stage.guard = stage.on_hook = None
        assert await peer.connect()
        assert await peer.heard() == [["all", 2]]


@pytest.mark.hostile("P16")
async def test_recovery_that_is_cut_at_any_step_can_be_tried_again() -> None:
    """The session is with the old socket, with the new one, or waits: never with both or nobody."""
    async with open_stage() as stage:
        peer = stage.peer()
        await peer.connect()
        first_id, cut_short = peer.id, 0
        for steps in range(60):
            await stage.server.emit("all", steps)
            await peer.cut()
            await peer.open()
            await peer.ask()
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            cut_short += not stage.server.of("/").sockets
            await peer.cut()
            assert (len(stage.store()), stage.store()._connected) == (1, {})
            assert await peer.connect()
            assert await peer.heard() == [["all", steps]]
        assert peer.id == first_id
        assert 0 < cut_short < 60


async def test_a_session_that_comes_back_from_a_cut_too_late_is_given_up(autojump_clock: MockClock) -> None:
    async with open_stage(replace(CONFIG, connect_timeout=1_000), max_disconnection=10) as stage:
        peer = stage.peer()
        await peer.connect()
        await peer.cut()
        stage.guard = wait_for_ever
        await peer.open()
        await peer.ask()
        await trio.sleep(11)
        assert stage.store().given_up == 0  # somebody has it
        await peer.cut()
        assert (stage.store().given_up, len(stage.store())) == (1, 0)


async def test_what_is_evicted_while_it_comes_back_is_not_lost_silently() -> None:
    async def flood(socket: Socket) -> None:
        for number in range(3):
            await stage.server.emit("all", number)

    async with open_stage(packets=2) as stage:
        peer = stage.peer()
        await peer.connect()
        await peer.cut()
        stage.guard = flood
        await peer.open()
        await peer.ask()
        await trio.testing.wait_all_tasks_blocked()
        assert stage.steps == ["came", "transport close"]
        stage.guard = None
        await peer.cut()
        assert not await peer.connect()


async def test_nobody_comes_back_to_a_server_that_drains(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        peer = stage.peer()
        await peer.connect()
        await peer.cut()
        stage.guard = wait_for_ever
        await peer.open()
        await peer.ask()
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.server.drain)
            await trio.testing.wait_all_tasks_blocked()
            async with await stage.memory.http() as http:
                assert (await http.request("GET", "/socket.io/?EIO=4&transport=polling")).status == 503
            await peer.cut()
        assert len(stage.store()) == 1
