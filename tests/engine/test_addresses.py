"""How much one address may take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pytest
import trio
import trio.testing

from trio_sio import CORS, Config, EngineServer, Limits, Session
from trio_sio.engine import addresses
from trio_sio.engine.addresses import AddressLimits
from trio_sio.engine.door import ClientGone
from trio_sio.engine.refusals import TooMany
from trio_sio.protocol.http import Headers, Request
from trio_sio.testing import HttpResponse, InMemoryServer, RawHttp, RawWebSocket, UpgradeRefused, open_test_server

TRANSPORTS: Final = ["polling", "websocket"]
PROXY: Final = "10.0.0.1"


def request(address: str | None = PROXY, **headers: str) -> Request:
    fields = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Request("GET", "/socket.io/", b"", Headers(fields), address)


async def handler(session: Session) -> None:
    async for _ in session:
        pass


def engine_server(limits: Limits | None = None, **options: Any) -> EngineServer:
    return EngineServer(handler, config=Config(path="/socket.io", limits=limits or Limits(), **options))


async def handshake(
    server: InMemoryServer, transport: str, address: str = PROXY, headers: Mapping[str, str] | None = None
) -> HttpResponse | RawWebSocket:
    """Return the answer to one handshake: a response, or a WebSocket if it became one."""
    target = f"/socket.io/?EIO=4&transport={transport}"
    stream = await server.connect_stream(address=address)
    if transport == "websocket":
        try:
            return await RawWebSocket.open(stream, target, headers=headers)
        except UpgradeRefused as refused:
            return refused.response
    async with RawHttp(stream) as http:
        return await http.request("GET", target, headers=headers)


async def is_let_in(server: InMemoryServer, transport: str, address: str = PROXY, headers: Mapping[str, str] | None = None) -> bool:
    """Tell whether a handshake is answered with a session; otherwise it has to be 429."""
    answer = await handshake(server, transport, address, headers)
    if isinstance(answer, RawWebSocket) or answer.status == 200:
        return True
    assert answer.status == 429
    return False


# How much it may take.


@pytest.mark.parametrize("first", TRANSPORTS)
@pytest.mark.parametrize("second", TRANSPORTS)
@pytest.mark.parametrize("limits", [Limits(connections_per_address=3), Limits(handshakes_per_address=3)], ids=["connections", "handshakes"])
async def test_the_last_of_an_address_is_let_in_and_the_next_is_not(
    limits: Limits, first: str, second: str, autojump_clock: trio.testing.MockClock
) -> None:
    made: list[str] = []

    def generate_id() -> str:
        made.append("id")
        return f"id-{len(made)}"

    options = {"generate_id": generate_id, "cors": CORS(origins="*")}
    async with open_test_server(engine_server(limits, **options)) as server:
        assert [await is_let_in(server, transport) for transport in (first, first, second)] == [True, True, True]

        refused = await handshake(server, second, headers={"Origin": "https://app.example"})
        assert isinstance(refused, HttpResponse)
        assert refused.status == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert refused.headers["access-control-allow-origin"] == "*"
        assert refused.body in (b"Too many connections from this address.\n", b"Too many handshakes from this address.\n")
        assert server.server.engine.clients_count == 3
        assert len(made) == 3

        assert await is_let_in(server, second, address="10.0.0.2")


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("limits", [Limits(connections_per_address=1), Limits(handshakes_per_address=1)], ids=["connections", "handshakes"])
async def test_made_up_hops_help_nobody(limits: Limits, transport: str, autojump_clock: trio.testing.MockClock) -> None:
    for trusted in (0, 1):
        async with open_test_server(engine_server(limits, trusted_proxies=trusted)) as server:
            made_up = [{"X-Forwarded-For": f"6.6.6.{number}{', 192.0.2.1' * trusted}"} for number in range(3)]
            assert [await is_let_in(server, transport, headers=headers) for headers in made_up] == [True, False, False]
    # Without the hops that it should have, a request is one of the proxy's.
    async with open_test_server(engine_server(limits, trusted_proxies=2)) as server:
        missing = [{"X-Forwarded-For": hop} for hop in ("6.6.6.6", "6.6.6.7", "6.6.6.6, x, 10.0.0.2", "")]
        assert [await is_let_in(server, transport, headers=headers) for headers in missing] == [True, False, False, False]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_clients_of_one_proxy_do_not_take_from_each_other(transport: str, autojump_clock: trio.testing.MockClock) -> None:
    limits = Limits(connections_per_address=1, handshakes_per_address=1)
    async with open_test_server(engine_server(limits, trusted_proxies=1)) as server:
        for number in range(1, 4):
            headers = {"X-Forwarded-For": f"192.0.2.{number}"}
            assert await is_let_in(server, transport, headers=headers)
            assert not await is_let_in(server, transport, headers=headers)


async def test_the_place_of_a_session_is_free_when_it_has_ended(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(engine_server(Limits(connections_per_address=2))) as server:
        engine = server.server.engine
        websocket = await handshake(server, "websocket")
        assert isinstance(websocket, RawWebSocket)
        polling = await handshake(server, "polling")
        assert isinstance(polling, HttpResponse)
        assert not await is_let_in(server, "polling")

        await websocket.close()
        await websocket.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert await is_let_in(server, "polling")
        assert not await is_let_in(server, "websocket")

        for connection in list(engine.sessions.running):
            connection.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert not engine.sessions.addresses._open


async def test_handshakes_at_the_same_time_do_not_pass_the_limit_together() -> None:
    async with open_test_server(engine_server(Limits(connections_per_address=2))) as server:
        answers: list[bool] = []

        async def connect() -> None:
            answers.append(await is_let_in(server, "websocket"))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(connect)
        assert sorted(answers) == [False, False, False, True, True]
        for connection in list(server.server.engine.sessions.running):
            connection.cancel()


class Leaver:
    """A WebSocket handshake whose client has gone when it is accepted."""

    detached = False

    def __init__(self) -> None:
        self.request = Request("GET", "/socket.io/", b"EIO=4&transport=websocket", Headers(), PROXY)

    async def accept(self, headers: object = ()) -> Any:
        await trio.lowlevel.checkpoint()
        raise ClientGone("the client went")

    async def refuse(self, response: object) -> None:
        raise AssertionError(response)


async def test_who_leaves_before_the_handshake_is_complete_takes_no_place() -> None:
    async with open_test_server(engine_server(Limits(connections_per_address=1))) as server:
        for _ in range(3):
            await server.server.engine.handle_websocket(Leaver())
        assert not server.server.engine.sessions.addresses._open


async def test_only_handshakes_count_as_such(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(engine_server(Limits(handshakes_per_address=2))) as server:
        opened = await handshake(server, "polling")
        assert isinstance(opened, HttpResponse)
        sid = opened.body.split(b'"')[3].decode()
        target = f"/socket.io/?EIO=4&transport=polling&sid={sid}"
        for _ in range(3):
            async with await server.http() as http:
                assert (await http.request("POST", target, body="4x")).status == 200
                preflight = {"Origin": "http://localhost:1", "Access-Control-Request-Method": "POST"}
                assert (await http.request("OPTIONS", target, headers=preflight)).status == 204
        async with await server.websocket(f"EIO=4&transport=websocket&sid={sid}") as probe:
            await probe.send("2probe")
            assert await probe.receive() == "3probe"
        assert await is_let_in(server, "websocket")
        assert not await is_let_in(server, "websocket")


async def test_handshakes_that_are_refused_for_another_reason_count(autojump_clock: trio.testing.MockClock) -> None:
    asked: list[str | None] = []

    def allow_request(request: Request) -> bool:
        asked.append(request.address)
        return False

    async with open_test_server(engine_server(Limits(handshakes_per_address=2), allow_request=allow_request)) as server:
        answers = [await handshake(server, "polling") for _ in range(4)]
        assert [answer.status for answer in answers if isinstance(answer, HttpResponse)] == [403, 403, 429, 429]
    assert len(asked) == 2


# The counts themselves.


def handshakes(limits: AddressLimits, *addresses: str | None) -> list[int | None]:
    """Count a handshake of each; return for each when to come back, ``None`` for now."""
    answers: list[int | None] = []
    for address in addresses:
        try:
            limits.count_handshake(address)
        except TooMany as too_many:
            answers.append(too_many.retry_after)
        else:
            answers.append(None)
    return answers


async def test_a_minute_begins_with_the_first_handshake_and_is_not_prolonged(mock_clock: trio.testing.MockClock) -> None:
    limits = AddressLimits(Limits(handshakes_per_address=2))
    assert handshakes(limits, "192.0.2.1") == [None]
    mock_clock.jump(30)
    assert handshakes(limits, *["192.0.2.1"] * 3) == [None, 30, 30]
    mock_clock.jump(29.5)
    assert handshakes(limits, "192.0.2.1", "192.0.2.2") == [1, None]
    mock_clock.jump(0.5)
    assert handshakes(limits, *["192.0.2.1"] * 3) == [None, None, 60]
    # The other's minute is not over.
    assert handshakes(limits, *["192.0.2.2"] * 2) == [None, 60]


async def test_addresses_are_forgotten_when_their_minute_is_over(mock_clock: trio.testing.MockClock) -> None:
    limits = AddressLimits(Limits(handshakes_per_address=1))
    handshakes(limits, *[f"192.0.2.{number}" for number in range(100)])
    mock_clock.jump(30)
    handshakes(limits, "198.51.100.1", "192.0.2.1")
    assert len(limits._minutes) == 101
    mock_clock.jump(30)
    assert handshakes(limits, "198.51.100.1") == [30]
    assert len(limits._minutes) == 1


async def test_no_more_addresses_are_remembered_than_fit(monkeypatch: pytest.MonkeyPatch, mock_clock: trio.testing.MockClock) -> None:
    monkeypatch.setattr(addresses, "REMEMBERED_ADDRESSES", 2)
    limits = AddressLimits(Limits(handshakes_per_address=2))
    assert handshakes(limits, "192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.2") == [None, None, None, 60]
    assert handshakes(limits, "192.0.2.3", "192.0.2.2", "192.0.2.3") == [None, 60, None]
    assert len(limits._minutes) == 2
    # The one that was remembered longest has made room, so it begins again.
    assert handshakes(limits, "192.0.2.1", "192.0.2.1", "192.0.2.1") == [None, None, 60]
    assert len(limits._minutes) == 2


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("2001:db8::1", "2001:db8:0:0:ffff::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::1%eth0", True),
        ("test", "test", True),
        ("test", "other", False),
        (None, None, True),
        (None, "192.0.2.1", False),
    ],
)
async def test_who_counts_as_the_same(one: str | None, other: str | None, same: bool, mock_clock: trio.testing.MockClock) -> None:
    limits = AddressLimits(Limits(handshakes_per_address=1, connections_per_address=1))
    assert handshakes(limits, one, other) == [None, 60 if same else None]
    limits.enter(one)
    if same:
        with pytest.raises(TooMany):
            limits.check_connections(other)
    else:
        limits.check_connections(other)
    limits.leave(other if same else one)
    assert not limits._open


async def test_what_is_off_counts_nothing() -> None:
    limits = AddressLimits(Limits())
    for _ in range(10):
        limits.count_handshake("192.0.2.1")
        limits.check_connections("192.0.2.1")
        limits.enter("192.0.2.1")
    assert not limits._open
    assert not limits._minutes
