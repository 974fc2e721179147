"""What the guide and the page about doors show works, and does what they say."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import importlib
import inspect
import logging
import re
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple, cast

import pytest
import trio
import trio.testing
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio import serve
from itsdangerous import timed
from trio_websocket import serve_websocket

from tests.cluster.recovery_clients import open_comer
from tests.cluster.test_hand_over import open_running
from tests.level import unchanged
from tests.namespaces.recovering import Peer
from tests.pages import BLOCKS, PAGES, TEXTS
from tests.ports import free_port
from trio_sio import (
    Config,
    ConnectFailed,
    ConnectionRefused,
    Context,
    Limits,
    Next,
    Recovery,
    Route,
    RoutingTable,
    Server,
    on_message,
    open_client,
)
from trio_sio.config import TransportName
from trio_sio.doors.asgi import ASGIFramework
from trio_sio.namespaces import handshake
from trio_sio.testing import RawHttp, StrictSocket, open_test_server

Load = Callable[[str, str], ModuleType]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """``load(page, name)`` imports a block of a page, next to which the page's other blocks lie."""
    loaded: set[str] = set()

    def load(page: str, name: str) -> ModuleType:
        for other, text in BLOCKS[page].items():
            (tmp_path / f"{other}.py").write_text(text, encoding="utf-8")
        loaded.update(BLOCKS[page])
        return importlib.import_module(name)

    monkeypatch.syspath_prepend(str(tmp_path))
    yield load
    for name in loaded:
        sys.modules.pop(name, None)


# The pages.


def test_every_block_is_run() -> None:
    assert {name: list(blocks) for name, blocks in BLOCKS.items()} == {
        "README": [],
        "authentication": ["tokens", "site_with_login"],
        "databases": ["notes"],
        "doors": ["adder", "native", "under_hypercorn", "inside", "several"],
        "from-python-socketio": ["server_before", "server_after", "client_before", "client_after"],
        "ordering": ["account", "countdown"],
        "presence": ["presence"],
        "rate-limit": ["rate_limit", "strangers"],
        "recovery": ["game", "tour"],
        "threads": ["pictures", "sensor"],
    }
    for name, text in TEXTS.items():
        assert text.count("```python") == len(BLOCKS[name])


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", TEXTS[page]):
        assert (PAGES[page].parent / link).exists(), link


# One at a time.


async def test_the_events_of_a_client_are_handled_in_turn(load: Load, autojump_clock: trio.testing.MockClock) -> None:
    account = load("ordering", "account")
    async with (
        open_test_server(account.routes) as server,
        server.client("/account") as ann,
        server.client("/account") as bob,
    ):
        start = trio.current_time()
        await ann.emit("withdraw", 60)
        await bob.emit("withdraw", 60)
        assert await ann.emit_with_ack("withdraw", 60) is False
        assert await bob.emit_with_ack("withdraw", 60) is False
        assert trio.current_time() - start == pytest.approx(1)
        assert await ann.emit_with_ack("withdraw", 40) is True


async def test_a_handler_may_ask_its_client_while_events_wait(
    load: Load, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    account = load("ordering", "account")
    async with open_test_server(account.routes) as server, server.client("/account") as ann:

        @ann.on("sure?")
        async def think() -> bool:
            await trio.sleep(20)
            return True

        await ann.emit("close")
        assert await ann.emit_with_ack("withdraw", 1) is False
    (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "The handler of 'close' (Account.close, at account.py:" in warning.getMessage()


async def test_what_has_to_be_finished_is(load: Load, autojump_clock: trio.testing.MockClock) -> None:
    account = load("ordering", "account")
    impatient = Config(ping_interval=0.25, ping_timeout=0.25)
    async with open_test_server(account.routes, impatient) as server, unchanged(server.server):
        async with server.strict_client("/account", answer_pings=False) as ann:
            await ann.emit("transfer", "Bob", 30)
            await ann.connection.closed()
        assert account.LEDGER["Bob"] == 0
        await trio.sleep(1)
        assert account.LEDGER["Bob"] == 30


class Worker:
    """Notes what of its work was done."""

    def __init__(self, done: list[str]) -> None:
        self.done = done

    @on_message("next")
    async def next(self, name: str) -> None:
        await trio.sleep(3)
        self.done.append(name)

    @on_message("beside", concurrent=True)
    async def beside(self) -> None:
        try:
            await trio.sleep(60)
        finally:
            self.done.append("beside")


@pytest.mark.parametrize(("says_goodbye", "expected"), [(True, ["a", "b", "c", "beside"]), (False, ["beside"])])
async def test_what_a_client_leaves_behind(says_goodbye: bool, expected: list[str], autojump_clock: trio.testing.MockClock) -> None:
    done: list[str] = []
    config = Config(ping_interval=1, ping_timeout=1)
    async with open_test_server(RoutingTable(Route("/", Worker(done))), config) as server, unchanged(server.server):
        async with server.strict_client(answer_pings=says_goodbye) as ann:
            await ann.emit("beside")
            for name in ("a", "b", "c", "d"):  # 12 seconds of work, and 10 to do it
                await ann.emit("next", name)
            if says_goodbye:
                await ann.disconnect()
            else:
                await ann.connection.closed()
        await trio.sleep(20)
    assert done == expected


async def test_a_second_event_stops_a_stream(load: Load, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture) -> None:
    countdown = load("ordering", "countdown")
    async with open_test_server(countdown.routes) as server, server.client("/countdown") as ann:
        await ann.emit("start", 100)
        await ann.emit("stop")
        await trio.sleep(5)
        assert [event.args for event in ann.pending] == [(100,)]
        assert await ann.emit_with_ack("start", 3) == 0

        rest: list[object] = []

        async def count() -> None:
            rest.append(await ann.emit_with_ack("start", 10))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            await trio.sleep(2.5)
            await ann.emit_with_ack("stop")
        assert rest == [8]  # 10, 9 and 8 were sent; two seconds were over
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_the_clients_going_stops_a_stream(load: Load, autojump_clock: trio.testing.MockClock) -> None:
    countdown = load("ordering", "countdown")
    async with (
        open_test_server(countdown.routes) as server,
        unchanged(server.server, objects=True),
        server.strict_client("/countdown") as ann,
    ):
        await ann.emit("start", 100)
        await ann.once("left")
        await ann.connection.abort()


# Who is there.


async def test_the_first_connection_and_the_last_to_go_are_announced(load: Load, autojump_clock: trio.testing.MockClock) -> None:
    presence = load("presence", "presence")
    async with open_test_server(presence.routes) as server, server.client(auth={"user": 1}) as watcher:
        async with server.client(auth={"user": 42}):
            async with server.client(auth={"user": 42}) as phone:
                assert await watcher.emit_with_ack("who") == [1, 42]
                assert await watcher.emit_with_ack("whisper", 42, "hello") == 2
                assert await phone.once("whispered") == (1, "hello")
            assert await watcher.emit_with_ack("whisper", 42, "still there?") == 1
        await trio.sleep(1)
        assert await watcher.emit_with_ack("whisper", 42, "gone") == 0
        assert [(event.name, *event.args) for event in watcher.pending] == [("online", 42), ("offline", 42)]
        assert await watcher.emit_with_ack("who") == [1]


async def test_many_tabs_at_once_are_one_person(load: Load, autojump_clock: trio.testing.MockClock) -> None:
    presence = load("presence", "presence")
    async with open_test_server(presence.routes) as server, server.strict_client(auth={"user": 1}) as watcher:
        for _ in range(5):
            async with trio.open_nursery() as nursery:

                async def visit() -> None:
                    async with server.strict_client(auth={"user": 42}) as tab:
                        await tab.emit_with_ack("who")
                        await tab.connection.abort()

                for _ in range(8):
                    nursery.start_soon(visit)
            await trio.sleep(1)
        heard = [await watcher.receive() for _ in range(10)]
        assert [(event.name, *event.args) for event in heard] == [("online", 42), ("offline", 42)] * 5


@pytest.mark.parametrize("steps", range(0, 60, 3))
async def test_who_comes_while_the_last_one_goes_is_there(steps: int, load: Load, autojump_clock: trio.testing.MockClock) -> None:
    presence = load("presence", "presence")
    async with open_test_server(presence.routes) as server, server.strict_client(auth={"user": 1}) as watcher:

        async def leave(tab: StrictSocket) -> None:
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            await tab.disconnect()

        async with server.strict_client(auth={"user": 42}) as old, trio.open_nursery() as nursery:
            nursery.start_soon(leave, old)
            async with server.strict_client(auth={"user": 42}) as new:
                await trio.sleep(1)
                assert await new.emit_with_ack("who") == [1, 42]
        await trio.sleep(1)
        names = [event.name for event in watcher.pending]
        assert names == ["online", "offline"] * (len(names) // 2)
        assert await watcher.emit_with_ack("who") == [1]


async def test_somebody_is_thrown_out_everywhere(load: Load, autojump_clock: trio.testing.MockClock) -> None:
    presence = load("presence", "presence")
    server = Server(presence.routes)
    async with (
        open_test_server(server) as in_memory,
        in_memory.client(auth={"user": 42}) as desk,
        in_memory.client(auth={"user": 42}) as phone,
    ):
        await server.in_("user:42").disconnect_sockets()
        assert (await desk.closed()).reason == (await phone.closed()).reason == "io server disconnect"
    async with open_test_server(presence.routes) as in_memory:
        with pytest.raises(ConnectionRefused, match="Who are you"):
            async with in_memory.client(auth={"user": "42"}):
                pass


# Who may come in.


async def test_a_token_opens_the_door(load: Load, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    tokens = load("authentication", "tokens")
    token = tokens.SIGNER.dumps("Ann")
    async with open_test_server(tokens.routes) as server:
        async with server.client("/private", auth={"token": token}) as ann:
            assert await ann.emit_with_ack("whoami") == "Ann"
            await tokens.log_out(server.server, "Bob")
            assert await ann.emit_with_ack("whoami") == "Ann"
            await tokens.log_out(server.server, "Ann")
            await ann.closed()

        async def refused(auth: Mapping[str, object]) -> object:
            with pytest.raises(ConnectionRefused) as info:
                async with server.client("/private", auth=auth):
                    pass
            return info.value.data

        assert await refused({}) == {"code": "no token"}
        assert await refused({"token": ["a"]}) == {"code": "no token"}
        for forged in ("", "a.b.c", "ü", token[:-1], token[1:], "\0"):
            assert await refused({"token": forged}) == {"code": "bad token"}
        monkeypatch.setattr(tokens, "LIFETIME", -1)
        assert await refused({"token": token}) == {"code": "bad token"}
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_token_ends_unless_it_is_refreshed(
    load: Load, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = load("authentication", "tokens")
    began = time.time()
    clock = SimpleNamespace(time=lambda: began + trio.current_time())
    monkeypatch.setattr(handshake, "time", clock)
    monkeypatch.setattr(timed, "time", clock)
    token, other = tokens.SIGNER.dumps("Ann"), tokens.SIGNER.dumps("Bob")
    async with open_test_server(tokens.routes) as server, server.client("/private", auth={"token": token}) as ann:
        await trio.sleep(3000)
        assert await ann.emit_with_ack("refresh", other) is False
        assert await ann.emit_with_ack("refresh", "forged") is False
        assert await ann.emit_with_ack("refresh", tokens.SIGNER.dumps("Ann")) is True
        await trio.sleep(3000)
        assert await ann.emit_with_ack("whoami") == "Ann"
        await ann.closed()
        assert 6598 < trio.current_time() < 6602


class Page(NamedTuple):
    """What a browser gets."""

    text: str
    cookie: str


def post(port: int, path: str, cookie: str = "") -> Page:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("POST", path, headers={"Cookie": cookie})
        response = connection.getresponse()
        assert response.status == 200
        return Page(response.read().decode(), (response.getheader("Set-Cookie") or "").partition(";")[0])


async def test_the_session_of_a_site_opens_the_door(load: Load) -> None:
    site = load("authentication", "site_with_login")
    config = HypercornConfig()
    config.bind = ["127.0.0.1:0"]
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(partial(serve, site.app, config, shutdown_trigger=stop.wait))
        port = int(url.rpartition(":")[2])

        async def refused(**cookies: str) -> None:
            with pytest.raises(ConnectionRefused, match="Log in first"):
                async with open_client(url, cookies=cookies):
                    pass

        with trio.fail_after(30):
            welcome = await trio.to_thread.run_sync(post, port, "/login/Ann")
            assert welcome.text == "Welcome."
            await refused(a="b")
            name, _, value = welcome.cookie.partition("=")
            await refused(**{name: value[:-3]})
            for transport in ("polling", "websocket"):
                elsewhere = {"Origin": "https://elsewhere.example"}
                with pytest.raises(ConnectFailed, match="403"):
                    async with open_client(url, cookies={name: value}, headers=elsewhere, transports=[transport]):
                        pass

            async with open_client(url, cookies={name: value}, reconnection=None) as ann:
                assert await ann.emit_with_ack("whoami") == "Ann"
                farewell = await trio.to_thread.run_sync(post, port, "/logout", welcome.cookie)
                assert farewell.text == "Good-bye."
                await ann.closed()
            await refused(**{name: farewell.cookie.partition("=")[2]})
        stop.set()


# Not so fast.


async def test_events_are_limited_per_socket_and_per_user(
    load: Load, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    module = load("rate-limit", "rate_limit")
    over = {"status": "error", "message": "Too many events"}

    async def identify(ctx: Context, call_next: Next) -> object:
        ctx.socket.data["user"] = ctx.socket.handshake.auth["user"]
        return await call_next()

    routes = RoutingTable(Route("/search", module.Search(), connection_middleware=[identify]))
    async with open_test_server(module.routes) as server, server.client("/search") as ann, server.client("/search") as bob:
        assert [await ann.emit_with_ack("find", "a") for _ in range(6)] == ["A"] * 5 + [{**over, "data": {"retry_after": 0.5}}]
        assert await bob.emit_with_ack("find", "b") == "B"
    async with (
        open_test_server(routes) as server,
        server.client("/search", auth={"user": 1}) as ann,
        server.client("/search", auth={"user": 1}) as tab,
        server.client("/search", auth={"user": 2}) as bob,
    ):
        assert await ann.emit_with_ack("export") == "a large file"
        assert await tab.emit_with_ack("export") == {**over, "data": {"retry_after": 600}}
        assert await bob.emit_with_ack("export") == "a large file"
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_refusal_of_ones_own_is_answered_and_is_in_the_contract(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    module = load("rate-limit", "strangers")
    async with open_test_server(module.routes) as server, server.client("/rooms") as client:
        refusal = {"status": "error", "message": "Not in this room.", "data": {"code": "stranger"}}
        assert await client.emit_with_ack("say", "lobby", "hello") == refusal
    assert [record for record in caplog.records if record.levelno >= logging.INFO] == []
    text = module.routes.contract().text("typescript")
    assert '"say": ErrorAnswer & { data: Reason };' in text


async def test_connections_are_limited_per_address(load: Load, autojump_clock: trio.testing.MockClock) -> None:
    module = load("rate-limit", "rate_limit")
    async with open_test_server(module.routes) as server:
        for _ in range(30):
            async with server.client("/search"):
                pass
        with pytest.raises(ConnectionRefused) as info:
            async with server.client("/search"):
                pass
    assert info.value.message == "Too many events"
    assert isinstance(info.value.data, dict)
    assert info.value.data.keys() == {"retry_after"}


# Coming back.


async def test_a_player_comes_back_with_the_score(load: Load, autojump_clock: trio.testing.MockClock) -> None:
    module = load("recovery", "game")
    async with open_test_server(module.server) as memory:
        ann, bob = Peer(memory), Peer(memory)
        await bob.connect()
        assert await bob.event() == ["score", 0]
        await ann.connect()
        assert await ann.event() == ["score", 0]
        assert await bob.event() == ["joined", ann.id]
        await ann.websocket.send('421["hit",5]')
        assert await ann.receive() == "431[5]"
        await ann.cut()
        assert await bob.event() == ["away", ann.id]
        await trio.sleep(20)
        assert await ann.connect()
        assert await ann.event() == ["away", ann.id]  # which was said while she was away
        assert await ann.event() == ["score", 5]
        await ann.cut()
        assert await bob.event() == ["away", ann.id]
        await bob.leave()
        await trio.sleep(121)
        assert not await ann.connect()
        assert await ann.event() == ["score", 0]
        await ann.cut()


async def test_who_does_not_come_back_is_said_to_have_left(load: Load, autojump_clock: trio.testing.MockClock) -> None:
    module = load("recovery", "game")
    async with open_test_server(module.server) as memory:
        ann, bob = Peer(memory), Peer(memory)
        await ann.connect()
        await bob.connect()
        await bob.event()
        await ann.cut()
        assert await bob.event() == ["away", ann.id]
        start = trio.current_time()
        assert await bob.event() == ["left", ann.id]
        assert trio.current_time() == pytest.approx(start + 120, abs=1)
        await bob.leave()


async def test_what_was_seen_is_known_on_another_server(load: Load, autojump_clock: trio.testing.MockClock) -> None:
    routes, config = load("recovery", "tour").routes, Config(connection_state_recovery=Recovery())
    async with open_running(2, config, routes) as running, open_comer(running) as comer:
        await comer.come(0)
        assert [await comer.client.emit_with_ack("see", place) for place in ("tower", "bridge", "tower")] == [1, 2, 2]
        assert await comer.move(1)
        assert await comer.client.emit_with_ack("see", "market") == 3


# Databases.


async def test_notes_are_kept(load: Load, tmp_path: Path) -> None:
    notes = load("databases", "notes")
    path = str(tmp_path / "notes.db")
    async with open_test_server(notes.make_server(path)) as server, server.client("/notes") as ann, server.client("/notes") as bob:
        assert await ann.emit_with_ack("add", "Ann", "milk", "tea") == 2
        assert await bob.emit_with_ack("add", "Bob", "sugar") == 1
        assert await ann.emit_with_ack("add", "Ann", "bread") == 3
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select count(*) from notes").fetchone() == (4,)


async def test_a_transaction_happens_or_does_not(load: Load, tmp_path: Path) -> None:
    database = load("databases", "notes").Database(str(tmp_path / "notes.db"))
    begun, go_on = threading.Event(), threading.Event()

    def insert(connection: sqlite3.Connection) -> None:
        connection.execute("insert into notes values ('Ann', 'one')")
        begun.set()
        assert go_on.wait(10)
        connection.execute("insert into notes values ('Ann', 'two')")

    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("insert into notes values ('Ann', 'three')")
        raise KeyError

    def read(connection: sqlite3.Connection) -> list[tuple[str]]:
        return connection.execute("select body from notes").fetchall()

    async with database.open(Server()):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(database.transact, insert)
            assert await trio.to_thread.run_sync(begun.wait, 10)
            assert database.turn.available_tokens == 0
            nursery.cancel_scope.cancel()
            go_on.set()
        with pytest.raises(KeyError):
            await database.transact(fail)
        assert await database.transact(read) == [("one",), ("two",)]


# Threads.


async def test_a_thread_reports_progress(load: Load) -> None:
    pictures = load("threads", "pictures")
    async with open_test_server(pictures.routes) as server, server.client("/pictures") as ann:
        with trio.fail_after(20):
            assert await ann.emit_with_ack("render", "cat") == "cat.png"
            heard = [(await ann.receive()).args for _ in range(10)]
    assert heard == [("cat", step, 10) for step in range(1, 11)]


async def test_a_thread_notices_that_the_client_has_gone(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = load("threads", "pictures")
    busy, gone = threading.Event(), threading.Event()
    steps = 0

    def compute(seconds: float) -> None:
        nonlocal steps
        steps += 1
        if steps == 3:
            busy.set()
            assert gone.wait(10)

    monkeypatch.setattr(pictures, "time", type("time", (), {"sleep": staticmethod(compute)}))
    server = Server(pictures.routes)
    with trio.fail_after(20):
        async with open_test_server(server) as in_memory:
            async with in_memory.strict_client("/pictures") as ann:
                await ann.emit("render", "cat")
                assert await trio.to_thread.run_sync(busy.wait, 10)
                await ann.connection.abort()
            await trio.testing.wait_all_tasks_blocked()
            assert not server.of("/pictures").sockets
            assert pictures.AT_ONCE.borrowed_tokens == 1
            gone.set()
        assert pictures.AT_ONCE.borrowed_tokens == 0  # draining waits for the handler, as that does for its thread
    assert steps == 3


async def test_a_foreign_thread_emits(load: Load) -> None:
    sensor = load("threads", "sensor")
    async with open_test_server(sensor.server) as server, server.client() as ann:
        (measured,) = sensor.callbacks
        threading.Thread(target=measured, args=(21.5,)).start()
        with trio.fail_after(20):
            assert await ann.once("celsius") == (21.5,)
    assert sensor.callbacks == []


# Doors.

HYPERCORNS_OWN = "hypercorn -k trio"


async def serve_app(app: ASGIFramework, port: int) -> None:
    config = HypercornConfig()
    config.bind = [f"127.0.0.1:{port}"]
    # hypercorn's annotations want TypedDicts of its own.
    await serve(cast("Any", app), config)


async def add(port: int, transport: TransportName) -> object:
    async with open_client(f"http://127.0.0.1:{port}", transports=[transport]) as client:
        return await client.emit_with_ack("add", 1, 2)


async def listening(port: int) -> None:
    while True:
        with contextlib.suppress(OSError):
            await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
            return
        await trio.sleep(0.01)


async def health(port: int) -> int:
    async with RawHttp(await trio.open_tcp_stream("127.0.0.1", port)) as http:
        return (await http.request("GET", "/healthz")).status


@pytest.mark.parametrize("name", ["native", "under_hypercorn", HYPERCORNS_OWN, "inside", "several"])
async def test_a_door_opens(name: str, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    port, other = free_port(), free_port()
    monkeypatch.setenv("PORT", str(port))
    monkeypatch.setenv("OTHER_PORT", str(other))
    main = partial(serve_app, load("doors", "under_hypercorn").app, port) if name == HYPERCORNS_OWN else load("doors", name).main
    async with trio.open_nursery() as nursery:
        nursery.start_soon(main)
        with trio.fail_after(20):
            await listening(port)
            assert await add(port, "websocket") == 3
            if name == "inside":
                with pytest.raises(ConnectFailed):
                    await add(port, "polling")
            else:
                assert await add(port, "polling") == 3
                assert await health(port) == 200
            if name == "several":
                await listening(other)
                assert await add(other, "websocket") == 3
        nursery.cancel_scope.cancel()


def test_who_decides_is_named_as_it_is_called() -> None:
    fields = {f"{kind.__name__}.{field.name}" for kind in (Config, Limits) for field in dataclasses.fields(kind)}
    ours = fields | set(inspect.signature(Server.serve).parameters) | {"serve"}
    hosts = set(dir(HypercornConfig())) | {"serve"}
    handlers = set(inspect.signature(serve_websocket).parameters) | {"serve"}
    rows = re.findall(r"^\| (.*) \|$", TEXTS["doors"].partition("## Who does what\n")[2].partition("\n## ")[0], re.MULTILINE)
    assert len(rows) > 10
    for row in rows:
        _, *cells = row.split("|")
        for cell, known in zip(cells, (ours, fields | hosts, fields | handlers), strict=True):
            assert set(re.findall(r"`([\w.]+)`", cell)) <= known, row
    named = set(re.findall(r"`((?:Config|Limits)\.\w+)`", TEXTS["doors"]))
    assert named <= fields
