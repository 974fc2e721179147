"""Hostile HTTP, section H of the catalogue: more clients than there shall be, and clients that never join."""

from __future__ import annotations

import json

import pytest
import trio

from tests.hostile.journal import Journal
from tests.hostile.victim import BOUND, POLLING, WEBSOCKET, Victim, assert_refused
from trio_sio import Limits
from trio_sio.testing.raw import RawWebSocket, WebSocketClosed

pytestmark = pytest.mark.http


@pytest.mark.hostile("H53")
@pytest.mark.parametrize("settings", [{"limits": Limits(handshakes_per_address=4)}], ids=["four"])
async def test_more_handshakes_than_an_address_may_have(victim: Victim, journal: Journal) -> None:
    # The bystander's was the first.
    polling, websocket = await victim.polling(), await victim.websocket()
    await victim.open_websocket()

    for number in range(3):
        made_up = {"X-Forwarded-For": f"192.0.2.{number}"}
        response = await victim.request(POLLING, headers=made_up)
        refused = await victim.refusal(WEBSOCKET, made_up)

        assert (response.status, refused.status) == (429, 429)
        assert 1 <= int(response.headers["retry-after"]) <= 60
        assert 1 <= int(refused.headers["retry-after"]) <= 60
    journal.expect("INFO Refused GET '/socket.io/' from 127.0.0.1: Too many handshakes from this address", times=6)
    assert victim.server.engine.clients_count == 4
    await polling.assert_lives()
    await websocket.assert_lives()


@pytest.mark.hostile("H53")
@pytest.mark.parametrize("settings", [{"limits": Limits(connections_per_address=3)}], ids=["three"])
async def test_more_connections_than_an_address_may_have(victim: Victim, journal: Journal) -> None:
    # The bystander's is the first.
    polling, websocket = await victim.polling(), await victim.websocket()

    response = await victim.request(POLLING, headers={"X-Forwarded-For": "192.0.2.1"})
    refused = await victim.refusal(WEBSOCKET, {"X-Forwarded-For": "192.0.2.1"})

    assert (response.status, refused.status) == (429, 429)
    assert "retry-after" in response.headers
    assert "retry-after" in refused.headers
    journal.expect("INFO Refused GET '/socket.io/' from 127.0.0.1: Too many connections from this address", times=2)
    await polling.assert_lives()
    await trio.aclose_forcefully(websocket.websocket.stream)
    with trio.fail_after(BOUND):
        while len(victim.server.engine.sessions.running) == 3:  # noqa: ASYNC110  # nothing tells, and asking would be a handshake
            await trio.sleep(0.005)
    await (await victim.websocket()).assert_lives()


@pytest.mark.hostile("H53")
@pytest.mark.parametrize(
    "settings", [{"limits": Limits(handshakes_per_address=1, connections_per_address=1), "trusted_proxies": 1}], ids=["proxy"]
)
async def test_more_than_one_client_of_a_proxy_may_have(victim: Victim, journal: Journal) -> None:
    for address in ("192.0.2.1", "2001:db8::1"):
        websocket = await victim.open_websocket(headers={"X-Forwarded-For": f"192.0.2.77, {address}"})
        assert str(await websocket.receive()).startswith("0")
        for number in range(2):
            assert (await victim.refusal(WEBSOCKET, {"X-Forwarded-For": f"192.0.2.{number}, {address}"})).status == 429
        journal.expect(f"INFO Refused GET '/socket.io/' from {address}: Too many handshakes", times=2)
    # What no proxy has vouched for counts as the proxy's own, as the bystander does.
    for nonsense in ("", "unknown", "192.0.2.3,", "192.0.2.3 192.0.2.4"):
        assert (await victim.request(POLLING, headers={"X-Forwarded-For": nonsense})).status == 429
    journal.expect("INFO Refused GET '/socket.io/' from 127.0.0.1: Too many handshakes", times=4)


@pytest.mark.hostile("H53", "R24")
@pytest.mark.parametrize("settings", [{"limits": Limits(unconnected_sessions=3)}], ids=["three"])
async def test_more_sessions_than_join(victim: Victim, journal: Journal) -> None:
    websocket = await victim.open_websocket()
    assert str(await websocket.receive()).startswith("0")
    sids = [json.loads((await victim.request(POLLING)).body[1:])["sid"] for _ in range(5)]

    # The oldest had to go for those who came later, and everybody else gets in.
    with pytest.raises(WebSocketClosed), trio.fail_after(BOUND):
        await websocket.receive()
    for sid in sids[:2]:
        assert_refused(await victim.request(f"{POLLING}&sid={sid}"), 1)
    journal.expect("INFO Refused GET .*session id", times=2)
    journal.expect("WARNING 3 sessions have joined no namespace, so the oldest are ended as others come")
    await (await victim.websocket()).assert_lives()
    await (await victim.polling()).assert_lives()
    assert victim.server.engine.unconnected_count <= 3
    for sid in sids[-2:]:
        await victim.request(f"{POLLING}&sid={sid}", method="POST", body="1")
    journal.expect("INFO Refused POST .*session id", times=victim.server.engine.counters.refusals[1] - 2)
    await trio.aclose_forcefully(websocket.stream)


@pytest.mark.hostile("H54")
@pytest.mark.parametrize(
    "settings", [{"connect_timeout": 1}, {"ping_interval": 0.1, "ping_timeout": 1, "connect_timeout": 2}], ids=["connect", "ping"]
)
async def test_handshake_and_silence(victim: Victim, journal: Journal) -> None:
    response = await victim.request(POLLING)
    sid = json.loads(response.body[1:])["sid"]
    websocket: RawWebSocket = await victim.open_websocket()

    with pytest.raises(WebSocketClosed), trio.fail_after(BOUND):
        while True:
            assert str(await websocket.receive())[:1] in ("0", "2")
    with trio.fail_after(BOUND):
        while sid in victim.server.engine.sessions.by_id:  # noqa: ASYNC110  # nothing tells: a poll would change what is tested
            await trio.sleep(0.01)

    assert_refused(await victim.request(f"{POLLING}&sid={sid}"), 1)
    journal.expect("INFO Refused GET .*session id")
    await trio.aclose_forcefully(websocket.stream)
