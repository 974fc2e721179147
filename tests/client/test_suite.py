"""The client against real servers: ours at both doors, and the official one. Every case is the same for all."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import pytest
import trio

from tests.client.proxy import Proxy, open_proxy
from trio_sio.client import (
    ClientSocket,
    Connected,
    Connecting,
    Ended,
    Lost,
    Reconnection,
    State,
    Upgraded,
    Waiting,
    open_client,
    open_manager,
)
from trio_sio.config import TransportName
from trio_sio.errors import ConnectionRefused, Disconnected

pytestmark = pytest.mark.slow

WAYS: Final[dict[str, tuple[TransportName, ...]]] = {
    "polling": ("polling",),
    "websocket": ("websocket",),
    "upgrade": ("polling", "websocket"),
}
SOON: Final = Reconnection(delay=0.05, delay_max=0.1)
PATIENCE: Final = 20.0

_labels = itertools.count()


@pytest.fixture(params=WAYS)
def transports(request: pytest.FixtureRequest) -> tuple[TransportName, ...]:
    return WAYS[request.param]


def new_label() -> str:
    """Return a name by which a server, which other tests use too, knows one client."""
    return f"client {next(_labels)}"


class Connect:
    """Opens clients of one server with one way of transport."""

    def __init__(self, port: int, transports: tuple[TransportName, ...]) -> None:
        self.port = port
        self.transports = transports
        self.url = f"http://127.0.0.1:{port}"

    @asynccontextmanager
    async def __call__(self, namespace: str = "/", **options: Any) -> AsyncIterator[ClientSocket]:
        options = {"target": self.url, "transports": self.transports, **options}
        # Nothing here waits for ever.
        with trio.fail_after(PATIENCE):
            async with open_client(namespace=namespace, **options) as socket:
                yield socket

    def observer(self) -> AbstractAsyncContextManager[ClientSocket]:
        """Connect in the simplest way."""
        return self(transports=("websocket",))


@pytest.fixture
def connect(server_port: int, transports: tuple[TransportName, ...]) -> Connect:
    return Connect(server_port, transports)


@asynccontextmanager
async def through_proxy(connect: Connect, **options: Any) -> AsyncIterator[tuple[ClientSocket, Proxy, str]]:
    """Connect through a proxy; give the client, the proxy, and the client's label."""
    label = new_label()
    options = {"auth": {"label": label}, "reconnection": SOON, **options}
    async with open_proxy(connect.port) as proxy, connect(target=proxy.url, **options) as socket:
        yield socket, proxy, label


async def ended(connect: Connect, label: str) -> object:
    """Wait until the server knows that the client is gone, and return why it thinks so."""
    async with connect.observer() as observer:
        return await observer.emit_with_ack("ended", label)


# Messages.


@pytest.mark.parametrize(
    "args",
    [(), (None,), (1, "two", [3.5], {"four": None}), ("ünïcödé ☃ 🎈 \x1e \u2028",), (b"\0\xff", {"in": [b"", b"x" * 70_000]})],
)
async def test_echo(connect: Connect, args: tuple[object, ...]) -> None:
    async with connect() as socket:
        expected = args[0] if len(args) == 1 else args or None
        assert await socket.emit_with_ack("echo", *args) == expected
        await socket.emit("say", *args)
        # With recovery the server appends an offset, here and below.
        assert (await socket.once("said"))[: len(args)] == args


async def test_more_than_fits_into_one_request(connect: Connect) -> None:
    """`maxPayload` is 1 MB, and polling sends everything that waits in one POST."""
    async with connect() as socket:
        parts = [str(number) * 300_000 for number in range(8)]
        for part in parts:
            await socket.emit("say", part)
        assert [(await socket.once("said"))[0] for _ in parts] == parts


async def test_the_server_asks(connect: Connect) -> None:
    async with connect() as socket:

        @socket.on("question")
        async def answer(*args: object) -> object:
            return {"asked": args} if args else None

        assert await socket.emit_with_ack("ask", 1, b"x") == {"asked": [1, b"x"]}
        assert await socket.emit_with_ack("ask") is None


async def test_handlers_may_ask_back(connect: Connect) -> None:
    async with connect() as socket:

        @socket.on("question")
        async def answer(number: int) -> object:
            return await socket.emit_with_ack("echo", number + 1)

        assert await socket.emit_with_ack("ask", 1) == 2


async def test_what_the_server_says_first(connect: Connect) -> None:
    async with connect(auth={"token": "t"}) as socket:
        assert (await socket.once("welcome"))[0] == {"token": "t"}


async def test_iterating(connect: Connect) -> None:
    async with connect() as socket:
        await socket.once("welcome")
        await socket.emit("burst", 1_000)
        await socket.emit("send me away")
        events = [event async for event in socket]

        assert [(event.name, event.args[0]) for event in events] == [("tick", number) for number in range(1_000)]
        assert await socket.closed() == Ended("io server disconnect")


async def test_handlers_keep_the_order_of_the_server(connect: Connect) -> None:
    async with connect() as socket:
        seen: list[int] = []
        complete = trio.Event()

        @socket.on("tick")
        async def tick(number: int) -> None:
            await trio.lowlevel.checkpoint()
            seen.append(number)
            if number == 999:
                complete.set()

        await socket.emit("burst", 1_000)
        await complete.wait()
        assert seen == list(range(1_000))


async def test_volatile(connect: Connect) -> None:
    async with connect() as socket:
        await socket.volatile().emit("say", "now")
        assert (await socket.once("said"))[0] == "now"
        assert socket.volatile_dropped == 0


async def test_rooms(connect: Connect) -> None:
    room = new_label()
    async with connect() as one, connect() as other, connect() as outside:
        for socket in (one, other):
            await socket.emit_with_ack("join", room)
        await one.emit("shout", room, "hello")
        for socket in (one, other):
            assert (await socket.once("shouted"))[0] == "hello"
        await outside.emit_with_ack("echo")
        assert "shouted" not in [event.name for event in outside.pending]


# Namespaces.


async def test_several_namespaces_share_a_connection(connect: Connect) -> None:
    with trio.fail_after(PATIENCE):
        async with (
            open_manager(connect.url, transports=connect.transports) as manager,
            manager.socket() as main,
            manager.socket("/chat") as chat,
        ):
            assert main.id != chat.id
            assert await main.emit_with_ack("connection_id") == await chat.emit_with_ack("connection_id")
            assert await chat.emit_with_ack("echo", b"x") == b"x"
            await chat.disconnect()
            with pytest.raises(Disconnected):
                await chat.emit("echo")
            # The official server takes CONNECT in the same piece as DISCONNECT for a second one, and closes the connection.
            assert await main.emit_with_ack("echo", 1) == 1
            await chat.connect()
            assert await chat.emit_with_ack("echo", 2) == 2
            await chat.disconnect()
            assert await main.emit_with_ack("echo", 1) == 1
            async with manager.socket("/private", auth={"token": "secret"}) as private:
                assert await private.emit_with_ack("echo", 3) == 3


async def test_a_refusal_has_message_and_data(connect: Connect) -> None:
    with pytest.raises(ConnectionRefused) as raised:
        async with connect("/private", auth={"token": "guessed"}):
            pass
    assert (raised.value.message, raised.value.data) == ("bad token", {"code": 4001})

    async with connect("/private", auth={"token": "secret"}) as socket:
        assert await socket.emit_with_ack("echo", 1) == 1


async def test_a_namespace_that_does_not_exist(connect: Connect) -> None:
    with pytest.raises(ConnectionRefused, match=r"^Invalid namespace$"):
        async with connect("/nowhere"):
            pass


# Ends.


async def test_what_was_emitted_before_leaving_arrives(connect: Connect) -> None:
    label = new_label()
    async with connect(auth={"label": label}) as socket:
        for number in range(100):
            await socket.emit("note", label, number)
    assert await ended(connect, label) == "client namespace disconnect"
    async with connect.observer() as observer:
        assert await observer.emit_with_ack("notes", label) == list(range(100))


async def test_a_cancelled_client_is_gone_at_once(connect: Connect) -> None:
    label = new_label()
    with trio.CancelScope() as scope:
        async with connect(auth={"label": label}):
            scope.cancel()
            await trio.sleep_forever()
    assert await ended(connect, label) in ("transport close", "client namespace disconnect")


async def test_the_server_sends_it_away(connect: Connect) -> None:
    async with connect() as socket:
        await socket.emit("send me away")
        assert await socket.closed() == Ended("io server disconnect")
        with pytest.raises(Disconnected):
            await socket.emit_with_ack("echo")
        await socket.connect()
        assert await socket.emit_with_ack("echo", 1) == 1


# Coming back.


async def test_it_comes_back_with_fresh_credentials(connect: Connect) -> None:
    label, asked = new_label(), itertools.count(1)

    async def auth() -> dict[str, object]:
        await trio.lowlevel.checkpoint()
        return {"label": label, "number": next(asked)}

    async with through_proxy(connect, auth=auth) as (socket, proxy, _), socket.states() as states:
        assert await socket.emit_with_ack("auth") == {"label": label, "number": 1}
        proxy.cut()
        seen = await until_connected(states)
        assert [type(state) for state in seen[:4]] == [Lost, Waiting, Connecting, Connected]
        assert (await socket.emit_with_ack("auth"))["number"] == 2


async def until_connected(states: AsyncIterator[State]) -> list[State]:
    """Return the states that come next, up to the first `Connected`; what tells of the connection before is left out."""
    seen: list[State] = []
    async for state in states:
        if seen or not isinstance(state, Connected | Upgraded):
            seen.append(state)
            if isinstance(state, Connected):
                break
    return seen


async def test_what_it_missed_comes_first_when_it_is_recovered(connect: Connect) -> None:
    async with through_proxy(connect) as (socket, proxy, label), connect.observer() as observer:
        # The official server recovers nobody without an offset.
        await observer.emit_with_ack("tell", label, 0)
        assert (await socket.once("told"))[0] == 0
        sid = socket.id
        for expected in (1, 2):
            proxy.cut(down=True)
            await observer.emit_with_ack("ended", label)
            await observer.emit_with_ack("tell", label, expected)
            proxy.down = False
            assert (await socket.once("told"))[0] == expected
            await socket.connect()
            assert (socket.id, socket.recovered) == (sid, True)


async def test_who_is_cut_before_the_first_event_is_recovered(connect: Connect, request: pytest.FixtureRequest) -> None:
    async with through_proxy(connect, namespace="/chat") as (socket, proxy, _), socket.states() as states:
        sid = socket.id
        proxy.cut()
        await until_connected(states)
        # The official server knows a session without an offset no more; ours knows that nothing had arrived.
        is_ours = request.node.callspec.params["server_port"] != "node"
        assert (socket.id == sid, socket.recovered) == (is_ours, is_ours)


async def test_what_is_emitted_offline_arrives_once_and_in_order(connect: Connect) -> None:
    async with through_proxy(connect) as (socket, proxy, label):
        await socket.emit_with_ack("echo")
        proxy.cut(down=True)
        async with socket.states() as states:
            async for state in states:
                if isinstance(state, Lost):
                    break
        for number in range(100):
            await socket.emit("note", label, number)
        await socket.volatile().emit("note", label, "lost")
        proxy.down = False
        assert await socket.emit_with_ack("notes", label) == list(range(100))
        assert socket.volatile_dropped == 1


async def test_an_answer_that_cannot_come_any_more(connect: Connect) -> None:
    async with through_proxy(connect) as (socket, proxy, _), trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(Disconnected, match="before the server answered"):
                await socket.emit_with_ack("never")

        nursery.start_soon(ask)
        await socket.emit_with_ack("echo")
        proxy.cut()


async def ask(socket: ClientSocket, results: list[object], event: str, *args: object, task_status: trio.TaskStatus[None]) -> None:
    # What follows has emitted before it first waits.
    task_status.started()
    results.append(await socket.emit_with_ack(event, *args))


async def test_retries(connect: Connect) -> None:
    results: list[object] = []
    async with connect(retries=2, ack_timeout=1) as socket, trio.open_nursery() as nursery:
        await nursery.start(ask, socket, results, "flaky", new_label())
        await nursery.start(ask, socket, results, "echo", "behind it")
    # The first try was not acknowledged, and perhaps the second one too late.
    assert results in ([2, "behind it"], [3, "behind it"])


async def test_retries_survive_a_lost_connection(connect: Connect) -> None:
    results: list[object] = []
    async with through_proxy(connect, retries=5, ack_timeout=0.5) as (socket, proxy, label), trio.open_nursery() as nursery:
        await nursery.start(ask, socket, results, "flaky", label)
        proxy.cut()
    assert results in ([2], [3])


# Another parser.


async def test_msgpack(msgpack_port: int, transports: tuple[TransportName, ...]) -> None:
    async with open_client(f"http://127.0.0.1:{msgpack_port}", transports=transports, parser="msgpack", auth={"a": 1}) as socket:
        assert (await socket.once("welcome"))[0] == {"a": 1}
        assert await socket.emit_with_ack("echo", b"x", {"y": [1.5, None]}) == (b"x", {"y": [1.5, None]})
        await socket.emit("say", "hello")
        name, args = await socket.receive()
        assert (name, args[0]) == ("said", "hello")
