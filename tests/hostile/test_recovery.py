"""Clients that come back with what is not theirs: rows S66 to S70. What honest ones get is in tests/namespaces/test_recovery.py."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
import trio

from tests.hostile.victim import BOUND, CLEAN_CODES, Victim
from trio_sio import ConnectionRefused, Context, Next, Recovery, Route, Socket, on_connection
from trio_sio.testing import RawWebSocket, WebSocketClosed

pytestmark = pytest.mark.parametrize("settings", [{"connection_state_recovery": Recovery()}], ids=["recovery"])


class Guest:
    """One client with one connection after the other."""

    def __init__(self, victim: Victim, namespace: str = "/") -> None:
        self.victim = victim
        self.id = self.pid = self.offset = ""
        self.websocket: RawWebSocket
        self._prefix = "" if namespace == "/" else f"{namespace},"

    @property
    def auth(self) -> dict[str, Any]:
        """What lets it come back."""
        return {"pid": self.pid, "offset": self.offset}

    async def connect(self, auth: object = None) -> bool:
        """Connect with ``auth`` and tell whether the session is the one that it had."""
        with trio.fail_after(BOUND):
            await self.ask(auth)
            connected = str(await self.websocket.receive())
        assert connected.startswith(f"40{self._prefix}{{"), connected
        before, payload = (self.id, self.pid), json.loads(connected[2 + len(self._prefix) :])
        self.id, self.pid = payload["sid"], payload["pid"]
        assert (self.id == before[0]) == (self.pid == before[1])
        return before == (self.id, self.pid)

    async def ask(self, auth: object = None) -> None:
        """Open a connection and send CONNECT with ``auth``."""
        self.websocket = await self.victim.open_websocket()
        await self.websocket.receive()
        await self.websocket.send(f"40{self._prefix}{'' if auth is None else json.dumps(auth)}")

    async def hear(self) -> list[Any]:
        """Return the next event, and remember its offset."""
        with trio.fail_after(BOUND):
            event: list[Any] = json.loads(str(await self.websocket.receive())[2 + len(self._prefix) :])
        self.offset = event.pop()
        return event

    async def hear_nothing(self) -> None:
        """Assert that nothing has been sent to it but the answer to a question."""
        with trio.fail_after(BOUND):
            await self.websocket.send('427["echo",1]')
            assert await self.websocket.receive() == "437[1]"

    async def cut(self) -> None:
        """Drop the wire, and wait until the server has noticed."""
        await trio.aclose_forcefully(self.websocket.stream)
        await self.victim.settle()

    async def leave(self) -> None:
        """Leave for good, so that nothing is kept."""
        await self.websocket.send("41" + self._prefix.rstrip(","))
        await self.cut()

    @property
    def socket(self) -> Socket:
        return self.victim.server.of(self._prefix.rstrip(",") or "/").sockets[self.id]


@pytest.mark.hostile("S66")
@pytest.mark.parametrize(
    "odd",
    [
        {"pid": 1},
        {"pid": None},
        {"pid": ["a"]},
        {"pid": {"a": 1}},
        {"pid": True},
        {"pid": ""},
        {"pid": "unknown"},
        {"pid": "x" * 60_000},
        {"pid": "__proto__", "offset": "constructor"},
        {"offset": 1},
        {"offset": ["a"]},
        {"offset": False},
        {"offset": ""},
        {"offset": "unknown"},
        {"offset": "x" * 60_000},
        {"offset": "9" * 60_000},
        {"offset": "\ud800"},
    ],
    ids=lambda odd: json.dumps(odd)[:24],
)
async def test_what_makes_no_sense_brings_nobody_back(victim: Victim, odd: dict[str, Any]) -> None:
    guest = Guest(victim)
    await guest.connect()
    await victim.server.to(guest.id).emit("private", 1)
    assert await guest.hear() == ["private", 1]
    await guest.cut()
    assert not await guest.connect({**guest.auth, **odd})
    await guest.hear_nothing()
    await guest.leave()
    await forget(victim)


@pytest.mark.hostile("S66")
@pytest.mark.parametrize("key", ["pid", "offset"])
async def test_a_megabyte_of_it_is_refused(victim: Victim, key: str) -> None:
    guest = Guest(victim)
    await guest.ask({"pid": "x", "offset": "y", key: "x" * 999_000})
    with pytest.raises(WebSocketClosed) as closed, trio.fail_after(BOUND):
        await guest.websocket.receive()
    assert closed.value.code in CLEAN_CODES
    victim.journal.expect("INFO Connection .* ended: forced close .*payload of a CONNECT has")
    await guest.cut()


@pytest.mark.hostile("S67")
async def test_what_has_brought_one_client_back_brings_no_other(victim: Victim) -> None:
    guest, thief = Guest(victim), Guest(victim)
    await guest.connect()
    await victim.server.to(guest.id).emit("private", 1)
    await guest.hear()
    await guest.cut()
    await victim.server.to(guest.id).emit("private", 2)
    auth = guest.auth
    assert await guest.connect(auth)
    assert await guest.hear() == ["private", 2]
    thief.id, thief.pid = guest.id, guest.pid
    assert not await thief.connect(auth)
    await thief.hear_nothing()
    await guest.hear_nothing()  # and nobody has taken its connection away
    await victim.server.to(guest.id).emit("private", 3)
    assert await guest.hear() == ["private", 3]
    for one in (guest, thief):
        await one.leave()


@pytest.mark.hostile("S68")
async def test_coming_back_ends_the_connection_that_is_still_there(victim: Victim) -> None:
    guest = Guest(victim)
    await guest.connect()
    guest.socket.join_nowait("a")
    await victim.server.to("a").emit("room", 1)
    await guest.hear()
    old, old_socket = guest.websocket, guest.socket
    assert await guest.connect(guest.auth)
    assert await victim.reason(guest.id) == "transport close"
    assert guest.socket is not old_socket
    assert len(victim.server.of("/").sockets) == 2  # with the bystander's
    with pytest.raises(WebSocketClosed), trio.fail_after(BOUND):
        await old.receive()
    await victim.server.to("a").emit("room", 2)
    assert await guest.hear() == ["room", 2]
    await guest.leave()


class Guarded:
    """``/guarded``: behind a token."""

    @on_connection
    def joined(self, socket: Socket) -> None:
        socket.join_nowait("secrets")


async def check_token(ctx: Context, call_next: Next) -> object:
    if ctx.event is None and ctx.socket.handshake.auth.get("token") != "secret":
        raise ConnectionRefused("bad token")
    return await call_next()


@pytest.fixture
def routes() -> Sequence[Route]:
    return [Route("/guarded", Guarded, middleware=[check_token])]


@pytest.mark.hostile("S69")
async def test_who_comes_back_is_checked_again(victim: Victim) -> None:
    guest = Guest(victim, "/guarded")
    await guest.connect({"token": "secret"})
    guarded = victim.server.of("/guarded")
    await guarded.to("secrets").emit("secret", 1)
    await guest.hear()
    await guest.cut()
    await guarded.to("secrets").emit("secret", 2)
    for token in ({}, {"token": "expired"}):
        await guest.ask({**guest.auth, **token})
        with trio.fail_after(BOUND):
            assert await guest.websocket.receive() == '44/guarded,{"message":"bad token"}'
        await guarded.to("secrets").emit("secret", 3)
        await guest.cut()
    assert await guest.connect({**guest.auth, "token": "secret"})
    assert [await guest.hear() for _ in range(3)] == [["secret", 2], ["secret", 3], ["secret", 3]]
    await guest.leave()


@pytest.mark.hostile("S70")
async def test_a_guessed_offset_gives_nothing_of_other_rooms(victim: Victim) -> None:
    guest, member = Guest(victim), Guest(victim)
    await member.connect()
    member.socket.join_nowait("secrets")
    await victim.server.to("secrets").emit("secret", 1)
    await member.hear()
    first = member.offset
    await guest.connect()
    for number in range(2, 5):
        await victim.server.to("secrets").emit("secret", number)
        await member.hear()
    for offset in (first, member.offset):
        await guest.cut()
        assert await guest.connect({"pid": guest.pid, "offset": offset})
        await guest.hear_nothing()
        # Nor does a room that one joins later tell what was said there before.
        guest.socket.join_nowait("secrets")
    for one in (guest, member):
        await one.leave()


async def forget(victim: Victim) -> None:
    """Let the sessions of those who are away expire at once."""
    store: Any = victim.server.of("/").adapter.recovery
    for session in list(store._away.values()):
        store._expire(session)
