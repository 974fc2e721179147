"""Everybody comes back at once: section P of the catalogue."""

from __future__ import annotations

from collections import Counter

import pytest
import trio

from tests.hostile.victim import BOUND, POLLING, WEBSOCKET, Victim
from trio_sio import Limits
from trio_sio.engine.polling import PollingTransport
from trio_sio.testing.raw import RawWebSocket, UpgradeRefused

pytestmark = pytest.mark.http

ROOM = 20
COMERS = 200


@pytest.mark.hostile("P30")
@pytest.mark.parametrize("settings", [{"limits": Limits(connections=ROOM)}], ids=["connections"])
async def test_more_clients_come_back_than_there_is_room_for(victim: Victim) -> None:
    answers: Counter[int] = Counter()
    websockets: list[RawWebSocket] = []
    engine = victim.server.engine
    most = 0

    async def come(number: int) -> None:
        nonlocal most
        if number % 2:
            try:
                websocket = await RawWebSocket.open(await victim.connect(), f"/socket.io/?{WEBSOCKET}")
            except UpgradeRefused as refused:
                response = refused.response
            else:
                websockets.append(websocket)
                assert str(await websocket.receive()).startswith("0{")
                answers[101] += 1
                return
        else:
            response = await victim.request(POLLING)
        most = max(most, engine.clients_count)
        answers[response.status] += 1
        assert response.status == 200 or int(response.headers["retry-after"]) > 0

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for number in range(COMERS):
                nursery.start_soon(come, number)

    # The bystander has one place, and has kept it.
    assert answers[101] + answers[200] == ROOM - 1
    assert answers[503] == COMERS - (ROOM - 1)
    assert most <= ROOM
    for sid in [sid for sid, connection in engine.sessions.by_id.items() if isinstance(connection.transport, PollingTransport)]:
        await victim.request(f"{POLLING}&sid={sid}", method="POST", body="1")
    for websocket in websockets:
        await trio.aclose_forcefully(websocket.stream)
    with trio.fail_after(BOUND):
        while len(engine.sessions.running) > 1:  # noqa: ASYNC110  # nothing tells, and asking would be a handshake
            await trio.sleep(0.005)
    # When there is room again, whoever tries again is let in.
    await (await victim.websocket()).assert_lives()
