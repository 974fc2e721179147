"""Compressed polls: which clients get them, from which size on, and what they cost everybody else."""

from __future__ import annotations

import gzip
import json
import os
import re
import threading
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from tests.engine.exchange import FakeExchange
from trio_sio import CORS, Compression, Config, ConfigurationError, EngineServer, Server, Session
from trio_sio.engine.compression import Compressor, choose_coding
from trio_sio.engine.states import ConnectionState
from trio_sio.errors import TransportError
from trio_sio.protocol.http import Headers, Request, Response
from trio_sio.testing import open_test_server
from trio_sio.testing.raw import HttpResponse, RawHttp

POLLING = "/socket.io/?EIO=4&transport=polling"
DECODE: dict[str | None, Callable[[bytes], bytes]] = {"gzip": gzip.decompress, "deflate": zlib.decompress, None: bytes}


class Poller:
    """A client that polls, and the session that it polls for."""

    def __init__(self, http: RawHttp, session: Session, target: str) -> None:
        self.session = session
        self._http = http
        self._target = target

    async def poll(self, accept_encoding: str | None = "gzip, deflate", headers: dict[str, str] | None = None) -> HttpResponse:
        fields = {} if accept_encoding is None else {"Accept-Encoding": accept_encoding}
        return await self._http.request("GET", self._target, headers=fields | (headers or {}))


@asynccontextmanager
async def open_poller(config: Config) -> AsyncIterator[Poller]:
    sessions: list[Session] = []

    async def handler(session: Session) -> None:
        sessions.append(session)
        async for _ in session:
            pass

    async with open_test_server(EngineServer(handler, config=config)) as server, await server.http() as http:
        opened = await http.request("GET", POLLING, headers={"Accept-Encoding": "gzip"})
        assert "content-encoding" not in opened.headers
        target = f"{POLLING}&sid={json.loads(opened.body[1:])['sid']}"
        await trio.testing.wait_all_tasks_blocked()
        yield Poller(http, sessions[0], target)
        await http.request("POST", target, body="1")


def config(threshold: int = 1_024) -> Config:
    return Config(path="/socket.io", compression=Compression(threshold=threshold))


# What a client gets.


@pytest.mark.parametrize("accept_encoding", ["gzip", "deflate", "x-unknown, identity", None])
async def test_a_large_poll_is_encoded_as_its_client_accepts_it(accept_encoding: str | None) -> None:
    async with open_poller(config()) as poller:
        message = json.dumps([{"id": number} for number in range(1_000)])
        await poller.session.send(message)
        response = await poller.poll(accept_encoding)

        coding = response.headers.get("content-encoding")
        assert coding == (accept_encoding if accept_encoding in ("gzip", "deflate") else None)
        assert response.headers["vary"] == "Accept-Encoding"
        assert int(response.headers["content-length"]) == len(response.body)
        assert response.headers["content-type"] == "text/plain; charset=UTF-8"
        assert DECODE[coding](response.body) == b"4" + message.encode()
        assert (len(response.body) < len(message) / 3) is (coding is not None)


@pytest.mark.parametrize(("size", "coding"), [(1_023, None), (1_024, "gzip")])
async def test_the_threshold_is_inclusive(size: int, coding: str | None) -> None:
    async with open_poller(config()) as poller:
        await poller.session.send("x" * (size - 1))
        response = await poller.poll()

        assert response.headers.get("content-encoding") == coding
        assert DECODE[coding](response.body) == b"4" + b"x" * (size - 1)
        assert ("vary" in response.headers) is (coding is not None)


@pytest.mark.parametrize(("setting", "coding"), [(False, None), (True, "gzip")])
async def test_the_switch(setting: bool, coding: str | None) -> None:
    async with open_poller(Config(path="/socket.io", compression=setting)) as poller:
        await poller.session.send("x" * 2_000)
        response = await poller.poll()

        assert response.headers.get("content-encoding") == coding
        assert ("vary" in response.headers) is setting


@pytest.mark.parametrize(
    ("wishes", "coding"),
    [([None], "gzip"), ([True], "gzip"), ([False], None), ([None, True], "gzip"), ([None, False, True], None)],
    ids=str,
)
async def test_one_packet_that_is_not_to_be_compressed_is_enough(wishes: list[bool | None], coding: str | None) -> None:
    server = Server(config=Config(compression=True))
    server.on_connection(lambda socket: None)
    async with open_test_server(server) as running, await running.http() as http:
        opened = await http.request("GET", POLLING)
        target = f"{POLLING}&sid={json.loads(opened.body[1:])['sid']}"
        await http.request("POST", target, body="40")
        await http.request("GET", target)
        for wish in wishes:
            await (server if wish is None else server.compress(wish)).emit("x" * 2_000)
        response = await http.request("GET", target, headers={"Accept-Encoding": "gzip"})

        assert response.headers.get("content-encoding") == coding
        assert DECODE[coding](response.body).count(b"x" * 2_000) == len(wishes)
        await http.request("POST", target, body="1")


async def test_who_takes_nothing_plain_gets_small_polls_encoded_as_well() -> None:
    async with open_poller(config()) as poller:
        await poller.session.send("hello")
        response = await poller.poll("deflate, identity;q=0")

        assert (response.headers["content-encoding"], zlib.decompress(response.body)) == ("deflate", b"4hello")


async def test_the_headers_of_cors_stay() -> None:
    setting = Config(path="/socket.io", compression=True, cors=CORS(origins="https://app.example"))
    async with open_poller(setting) as poller:
        await poller.session.send("x" * 2_000)
        response = await poller.poll("gzip", {"Origin": "https://app.example"})

        assert response.headers["vary"] == "Origin, Accept-Encoding"
        assert response.headers["access-control-allow-origin"] == "https://app.example"


@pytest.mark.parametrize(
    ("accept_encoding", "choice"),
    [
        ("", (None, False)),
        ("gzip", ("gzip", False)),
        ("deflate", ("deflate", False)),
        ("gzip, deflate, br, zstd", ("gzip", False)),
        ("deflate, gzip", ("gzip", False)),
        ("gzip;q=0.5, deflate", ("deflate", False)),
        ("gzip;q=0.5, deflate;q=0.501", ("deflate", False)),
        ("GZIP ; Q=1.000 ,br", ("gzip", False)),
        ("br", (None, False)),
        ("identity", (None, False)),
        ("identity, gzip", ("gzip", False)),
        ("identity, gzip;q=0.9", (None, False)),
        ("gzip;q=0", (None, False)),
        ("gzip;q=0.000, deflate;q=0", (None, False)),
        ("*", ("gzip", False)),
        ("*;q=0.1, identity;q=0.5", (None, False)),
        ("gzip;q=0, *", ("deflate", False)),
        ("gzip, *;q=0", ("gzip", True)),
        ("gzip, identity;q=0", ("gzip", True)),
        ("*, identity;q=0", ("gzip", True)),
        ("identity;q=0", (None, False)),
        ("*;q=0", (None, False)),
        ("gzip;q=2", (None, False)),
        ("gzip;q=1.5", (None, False)),
        ("gzip;q=-1", (None, False)),
        ("gzip;q=", (None, False)),
        ("gzip;level=9", (None, False)),
        ("gzip=1", (None, False)),
        ("gzip gzip", (None, False)),
        (",, ,gzip,", ("gzip", False)),
        ("é\x00\udcff", (None, False)),
        ("gzip;q=1" + ";" * 10_000, (None, False)),
    ],
)
def test_which_coding_is_chosen(accept_encoding: str, choice: tuple[str | None, bool]) -> None:
    assert choose_coding(accept_encoding) == choice


def test_a_threshold_is_a_number() -> None:
    with pytest.raises(ConfigurationError, match=re.escape("Compression.threshold is -1; it must be an integer of at least 0.")):
        Compression(threshold=-1)
    with pytest.raises(ConfigurationError, match=re.escape("Config.compression is 'gzip'; it must be True, False or a Compression.")):
        Config(compression="gzip")  # type: ignore[arg-type]


# What it costs.


class Counting:
    """Stands in for zlib's compression and notes in which threads it ran."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: list[threading.Thread] = []
        self.finished = 0
        self.waits: threading.Event | None = None
        self._compress = zlib.compress
        monkeypatch.setattr(zlib, "compress", self)

    def __call__(self, body: bytes, *, wbits: int) -> bytes:
        self.threads.append(threading.current_thread())
        if self.waits is not None:
            assert self.waits.wait(10)
        encoded = self._compress(body, wbits=wbits)
        self.finished += 1
        return encoded


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    return Counting(monkeypatch)


def request(accept_encoding: str = "gzip") -> Request:
    return Request("GET", "/socket.io/", b"", Headers([(b"Accept-Encoding", accept_encoding.encode())]))


async def test_small_ones_are_done_at_once_and_large_ones_in_a_thread(counting: Counting) -> None:
    compressor = Compressor(True)
    small, large = os.urandom(64 * 1024), os.urandom(64 * 1024 + 1)

    assert gzip.decompress((await compressor.compress(Response(200, small), request())).body) == small
    assert gzip.decompress((await compressor.compress(Response(200, large), request())).body) == large
    assert [thread is threading.current_thread() for thread in counting.threads] == [True, False]


async def test_others_go_on_while_a_large_one_is_compressed(counting: Counting) -> None:
    compressor, counting.waits = Compressor(True), threading.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(compressor.compress, Response(200, os.urandom(100_000)), request())
        # Neither the application's threads nor its tasks have to wait.
        assert await trio.to_thread.run_sync(lambda: 5) == 5
        assert (await compressor.compress(Response(200, b"small"), request())).body == b"small"
        counting.waits.set()


@pytest.mark.parametrize("size", [2_000, 100_000])
async def test_what_many_get_is_compressed_once(counting: Counting, size: int) -> None:
    compressor, body = Compressor(True), os.urandom(size)
    answers: list[bytes] = []

    async def poll() -> None:
        answers.append((await compressor.compress(Response(200, bytes(bytearray(body))), request())).body)

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(poll)
    assert [gzip.decompress(answer) for answer in answers] == [body] * 20
    assert len(counting.threads) == 1
    deflated = (await compressor.compress(Response(200, body), request("deflate"))).body
    assert zlib.decompress(deflated) == body
    assert len(counting.threads) == 2


async def test_a_cancelled_one_waits_for_its_thread_and_leaves_the_way_clear(counting: Counting) -> None:
    compressor, counting.waits = Compressor(True), threading.Event()
    body = os.urandom(100_000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(compressor.compress, Response(200, body), request())
        nursery.start_soon(compressor.compress, Response(200, body), request())
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        counting.waits.set()
    assert (len(counting.threads), counting.finished) == (1, 1)
    assert gzip.decompress((await compressor.compress(Response(200, body), request())).body) == body


async def test_a_session_that_ends_meanwhile_does_not_take_its_last_packets_back(counting: Counting) -> None:
    counting.waits = threading.Event()
    sessions: list[Session] = []

    async def handler(session: Session) -> None:
        sessions.append(session)
        await session.send("x" * 100_000)
        async for _ in session:
            pass

    async with EngineServer(handler, config=config()) as server, trio.open_nursery() as nursery:
        opened = FakeExchange("EIO=4&transport=polling")
        await server.engine.handle_http(opened)
        assert opened.body is not None
        poll = FakeExchange(f"EIO=4&transport=polling&sid={json.loads(opened.body[1:])['sid']}", accept_encoding="gzip")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(server.engine.handle_http, poll)
        await trio.testing.wait_all_tasks_blocked()
        assert poll.response is None
        sessions[0]._connection.end(TransportError("meanwhile"))
        assert sessions[0]._connection.state is ConnectionState.CLOSED
        counting.waits.set()

    assert poll.body is not None
    assert gzip.decompress(poll.body) == b"4" + b"x" * 100_000
