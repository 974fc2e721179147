"""Publishing and hearing through a real Redis, which is killed, paused, and worse."""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
import trustme

from tests.cluster.redis_server import RedisServer
from tests.ports import free_port
from trio_sio.cluster.redis.address import RedisAddress
from trio_sio.cluster.redis.pubsub import PubSub, PubSubSettings
from trio_sio.errors import BusUnavailable, ConfigurationError

QUICK = PubSubSettings(ping_interval=0.3, answer_timeout=0.3, connect_timeout=1, delay=0.02, delay_max=0.1)


class Heard:
    """A `PubSub`, and what happened to it."""

    def __init__(self, pubsub: PubSub) -> None:
        self.pubsub = pubsub
        self.messages: list[tuple[str, bytes]] = []
        self.ready: list[bool] = []
        self.gaps: dict[str, int] = {}
        pubsub.on_ready(self.ready.append)
        pubsub.on_gap(self._add)

    def _add(self, kind: str, count: int) -> None:
        self.gaps[kind] = self.gaps.get(kind, 0) + count

    def receive(self, channel: str, message: bytes) -> None:
        self.messages.append((channel, message))

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until it holds."""
        while not condition():  # noqa: ASYNC110  # nothing tells: most of it is in Redis
            await trio.sleep(0.005)

    async def until_messages(self, count: int) -> None:
        await self.until(lambda: len(self.messages) >= count)


def make(server: RedisServer, settings: PubSubSettings = QUICK, url: str | None = None) -> Heard:
    return Heard(PubSub(RedisAddress.parse(url or server.url), settings))


@asynccontextmanager
async def opened(server: RedisServer, settings: PubSubSettings = QUICK, channel: str = "c") -> AsyncIterator[Heard]:
    heard = make(server, settings)
    heard.pubsub.subscribe(channel, heard.receive)
    with trio.fail_after(20):
        async with heard.pubsub.open():
            yield heard


# What it is for.


async def test_what_is_published_is_heard_in_order(redis_server: RedisServer) -> None:
    async with opened(redis_server) as heard:
        assert heard.pubsub.ready
        assert heard.ready == [True]
        messages = [b"%d\r\n\x00\xff" % number for number in range(5000)]
        for message in messages:
            assert heard.pubsub.publish_nowait("c", message)
        await heard.until_messages(5000)
        assert heard.messages == [("c", message) for message in messages]
        assert not heard.pubsub.lost
    assert heard.ready == [True, False]


async def test_patterns_and_channels_come_and_go(redis_server: RedisServer) -> None:
    async with opened(redis_server, channel="begin") as heard:
        pubsub = heard.pubsub
        pubsub.psubscribe("news.*", heard.receive)
        pubsub.subscribe("é", heard.receive)
        assert not pubsub.ready
        await pubsub.wait_ready()
        pubsub.publish_nowait("news.one", b"1")
        pubsub.publish_nowait("é", b"2")
        await heard.until_messages(2)
        pubsub.punsubscribe("news.*")
        pubsub.unsubscribe("é")
        pubsub.unsubscribe("never")
        pubsub.publish_nowait("news.one", b"3")
        pubsub.publish_nowait("é", b"4")
        pubsub.publish_nowait("begin", b"5")
        await heard.until_messages(3)
        assert heard.messages == [("news.one", b"1"), ("é", b"2"), ("begin", b"5")]
        pubsub.subscribe("é", heard.receive)
        await pubsub.wait_ready()
        pubsub.publish_nowait("é", b"6")
        await heard.until_messages(4)
        assert heard.ready == [True, False, True, False, True]


async def test_a_receiver_that_fails_is_logged_and_the_next_message_comes(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(redis_server) as heard:

        def receive(channel: str, message: bytes) -> None:
            heard.receive(channel, message)
            raise ValueError("no")

        heard.pubsub.subscribe("c", receive)
        heard.pubsub.publish_nowait("c", b"1")
        heard.pubsub.publish_nowait("c", b"2")
        await heard.until_messages(2)
    assert [record.message for record in caplog.records] == ["What receives messages on b'c' failed."] * 2


async def test_what_waits_in_the_end_is_sent(redis_server: RedisServer) -> None:
    async with opened(redis_server) as heard:
        sender = make(redis_server)
        async with sender.pubsub.open():
            for number in range(3000):
                assert sender.pubsub.publish_nowait("c", b"%d" % number)
        await heard.until_messages(3000)
        assert not sender.pubsub.lost


async def test_redis_can_be_asked(redis_server: RedisServer) -> None:
    async with opened(redis_server, channel="asked") as heard:
        assert await heard.pubsub.command("PUBSUB", "NUMSUB", "asked", "other") == [b"asked", 1, b"other", 0]
        with pytest.raises(BusUnavailable, match="does not do NONSENSE: ERR unknown command"):
            await heard.pubsub.command("NONSENSE")
        assert heard.pubsub.ready


async def test_who_asks_when_it_ends_is_told(redis_server: RedisServer) -> None:
    heard = make(redis_server, PubSubSettings(close_timeout=0.1))
    refusals = []

    async def ask() -> None:
        with pytest.raises(BusUnavailable, match="was lost: It was closed") as refusal:
            await heard.pubsub.command("PUBLISH", "c", "1")
        refusals.append(refusal)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            async with heard.pubsub.open():
                await trio.to_thread.run_sync(redis_server.command, "CLIENT", "PAUSE", "60000", "WRITE")
                nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
            await trio.to_thread.run_sync(redis_server.command, "CLIENT", "UNPAUSE")
    assert refusals


async def test_without_a_connection_nothing_can_be_asked(redis_server: RedisServer) -> None:
    heard = make(redis_server)
    with pytest.raises(BusUnavailable, match="no connection"):
        await heard.pubsub.command("PING")


@pytest.mark.parametrize("kind", ["body", "cancelled"])
async def test_the_block_may_fail(redis_server: RedisServer, kind: str) -> None:
    with trio.CancelScope() as scope:
        if kind == "body":
            with pytest.raises(ValueError, match="mine"):
                async with opened(redis_server):
                    raise ValueError("mine")
        else:
            async with opened(redis_server):
                scope.cancel()
    assert scope.cancelled_caught is (kind == "cancelled")


# Beginning.


async def test_without_redis_it_fails_at_once(fragile_redis: RedisServer) -> None:
    fragile_redis.kill()
    heard = make(fragile_redis)
    with pytest.raises(BusUnavailable, match=f"There is no connection to Redis at 127.0.0.1:{fragile_redis.port}: It cannot be reached"):
        async with heard.pubsub.open():
            raise AssertionError


async def test_or_it_begins_without_and_redis_comes(fragile_redis: RedisServer) -> None:
    fragile_redis.kill()
    heard = make(fragile_redis)
    heard.pubsub.subscribe("c", heard.receive)
    with trio.fail_after(20):
        async with heard.pubsub.open(fail_fast=False):
            assert not heard.pubsub.ready
            assert heard.pubsub.publish_nowait("c", b"early")
            await trio.to_thread.run_sync(fragile_redis.start)
            await heard.pubsub.wait_ready()
            await heard.until_messages(1)
            # It has heard nothing before, so nothing was interrupted.
            assert heard.gaps == {}


async def test_a_wrong_password_is_told(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "--requirepass", "right")
    server.start()
    try:
        for url in (server.url, f"redis://:wrong@127.0.0.1:{server.port}", f"redis://nobody:right@127.0.0.1:{server.port}"):
            with pytest.raises(ConfigurationError, match="does not accept the name or the password in the URL"):
                async with make(server, url=url).pubsub.open():
                    raise AssertionError
        for url in (f"redis://:right@127.0.0.1:{server.port}", f"redis://default:right@127.0.0.1:{server.port}"):
            async with make(server, url=url).pubsub.open():
                pass
    finally:
        server.kill()


async def test_it_speaks_tls_and_trusts_nobody_by_itself(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate, port = authority.issue_cert("localhost"), free_port()
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    files = ["--tls-cert-file", "server.pem", "--tls-key-file", "server.pem", "--tls-ca-cert-file", "ca.pem", "--tls-auth-clients", "no"]
    server = RedisServer(tmp_path, "--tls-port", str(port), *(str(tmp_path / one) if one.endswith(".pem") else one for one in files))
    server.start()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    try:
        heard = Heard(PubSub(RedisAddress.parse(f"rediss://localhost:{port}", context), QUICK))
        heard.pubsub.subscribe("c", heard.receive)
        with trio.fail_after(20):
            async with heard.pubsub.open():
                heard.pubsub.publish_nowait("c", b"x" * 1_000_000)
                await heard.until_messages(1)
        for url in (f"rediss://localhost:{port}", f"rediss://127.0.0.1:{port}"):  # an authority, and a name, that are not trusted
            given = context if "127" in url else None
            with pytest.raises(BusUnavailable, match="It broke"):
                async with PubSub(RedisAddress.parse(url, given), QUICK).open():
                    raise AssertionError
    finally:
        server.kill()


async def test_it_comes_through_a_unix_socket(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "--unixsocket", str(tmp_path / "redis.sock"))
    server.start()
    try:
        heard = make(server, url=f"unix://{tmp_path / 'redis.sock'}")
        heard.pubsub.subscribe("c", heard.receive)
        with trio.fail_after(20):
            async with heard.pubsub.open():
                heard.pubsub.publish_nowait("c", b"1")
                await heard.until_messages(1)
    finally:
        server.kill()


@asynccontextmanager
async def pretending(*answers: bytes) -> AsyncIterator[str]:
    """Pretend to be a Redis that says this, whoever comes; yield its URL."""

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        for answer in answers:
            await stream.send_all(answer)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield f"redis://127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("answers", "error", "says"),
    [
        ([b"-ERR unknown command `HELLO`, with args beginning with: `3`\r\n"], ConfigurationError, "Redis 6 or later is needed"),
        ([b"-NOPROTO unsupported protocol version\r\n"], ConfigurationError, "Redis 6 or later is needed"),
        ([b"-LOADING Redis is loading the dataset in memory\r\n"], BusUnavailable, "not, or not yet, what we look for"),
        ([b"-DENIED Redis is running in protected mode\r\n"], BusUnavailable, "does not let us in: DENIED"),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], BusUnavailable, "It broke: A reply begins with b'H'"),
        ([b"%0\r\n:1\r\n:2\r\n"], BusUnavailable, "It answers PING with 1"),
        ([], BusUnavailable, "It has not answered within 0.3 seconds"),
    ],
)
async def test_who_is_no_redis_of_ours_is_told_apart(answers: list[bytes], error: type[Exception], says: str) -> None:
    async with pretending(*answers) as url:
        pubsub = PubSub(RedisAddress.parse(url), QUICK)
        with trio.fail_after(20), pytest.raises(error, match=says):
            async with pubsub.open():
                raise AssertionError


async def test_who_lets_us_in_and_throws_us_out_is_asked_less_and_less_often() -> None:
    came: list[float] = []
    fifth = trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        came.append(trio.current_time())
        await stream.receive_some()
        await stream.send_all(b"%0\r\n")
        if len(came) == 5:
            fifth.set()

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        address = RedisAddress.parse(f"redis://127.0.0.1:{listener.socket.getsockname()[1]}")
        with trio.fail_after(20):
            async with PubSub(address, PubSubSettings(delay=0.05)).open(fail_fast=False):
                await fifth.wait()
        nursery.cancel_scope.cancel()
    # Half of 0.05, 0.1, 0.2 and 0.4 at least.
    assert came[4] - came[0] > 0.375


# Losing the connection.


async def test_redis_is_killed_and_comes_back(fragile_redis: RedisServer) -> None:
    async with opened(fragile_redis) as heard:
        heard.pubsub.psubscribe("p.*", heard.receive)
        await heard.pubsub.wait_ready()
        await trio.to_thread.run_sync(fragile_redis.kill)
        await heard.until(lambda: not heard.pubsub.ready)
        for number in range(100):
            assert heard.pubsub.publish_nowait("c", b"%d" % number)
        assert heard.messages == []
        await trio.to_thread.run_sync(fragile_redis.start)
        await heard.pubsub.wait_ready()
        heard.pubsub.publish_nowait("p.1", b"last")
        await heard.until_messages(101)
        assert heard.messages == [*(("c", b"%d" % number) for number in range(100)), ("p.1", b"last")]
        await heard.until(lambda: heard.gaps)
        assert heard.gaps == {"interrupted": 1}
        assert heard.ready == [True, False, True, False, True]


async def test_one_connection_is_killed(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(redis_server) as heard:
        before = len(heard.ready)
        assert redis_server.command("CLIENT", "KILL", "TYPE", "pubsub") == b":1\r\n"
        await heard.until(lambda: len(heard.ready) == before + 2)
        assert heard.pubsub.ready
        heard.pubsub.publish_nowait("c", b"1")
        await heard.until_messages(1)
        await heard.until(lambda: heard.gaps)
        assert heard.gaps == {"interrupted": 1}
    (line,) = (record.message for record in caplog.records)
    assert line == f"There is no connection to Redis at 127.0.0.1:{redis_server.port}: It has closed the connection. It is tried again."


async def test_what_redis_has_not_answered_is_counted(redis_server: RedisServer) -> None:
    async with opened(redis_server) as heard:
        await trio.to_thread.run_sync(redis_server.command, "CLIENT", "PAUSE", "60000", "WRITE")
        try:
            for _ in range(100):
                heard.pubsub.publish_nowait("c", b"1")
            await heard.until(lambda: heard.pubsub.lost)
        finally:
            redis_server.command("CLIENT", "UNPAUSE")
        await heard.pubsub.wait_ready()
        assert heard.pubsub.lost["unanswered"] == 100
        await heard.until(lambda: heard.gaps.get("unanswered") == 100)


async def test_redis_stands_still_and_goes_on(fragile_redis: RedisServer) -> None:
    """As when the network swallows everything: nothing is closed, and nothing comes."""
    async with opened(fragile_redis) as heard:
        fragile_redis.stop()
        began = trio.current_time()
        await heard.until(lambda: not heard.pubsub.ready)
        assert trio.current_time() - began < 5
        with pytest.raises(BusUnavailable):
            await heard.pubsub.command("PING")
        fragile_redis.go_on()
        await heard.pubsub.wait_ready()
        heard.pubsub.publish_nowait("c", b"1")
        await heard.until_messages(1)


async def test_too_much_waits(fragile_redis: RedisServer) -> None:
    settings = PubSubSettings(queue_messages=10, queue_bytes=10_000, delay=0.02, delay_max=0.1)
    async with opened(fragile_redis, settings) as heard:
        await trio.to_thread.run_sync(fragile_redis.kill)
        await heard.until(lambda: not heard.pubsub.ready)
        assert [heard.pubsub.publish_nowait("c", b"%d" % number) for number in range(15)] == [True] * 10 + [False] * 5
        await heard.until(lambda: heard.gaps)
        assert heard.gaps == heard.pubsub.lost == {"full": 5}
        await trio.to_thread.run_sync(fragile_redis.start)
        await heard.until_messages(10)
        assert heard.messages == [("c", b"%d" % number) for number in range(10)]
        assert not heard.pubsub.publish_nowait("c", b"x" * 10_000)
        assert heard.pubsub.publish_nowait("c", b"x" * 9_900)


async def test_what_waits_for_too_long_is_lost_and_so_is_what_comes(fragile_redis: RedisServer) -> None:
    settings = PubSubSettings(keep=0.2, delay=0.02, delay_max=0.05)
    async with opened(fragile_redis, settings) as heard:
        await trio.to_thread.run_sync(fragile_redis.kill)
        await heard.until(lambda: not heard.pubsub.ready)
        assert heard.pubsub.publish_nowait("c", b"1")
        await heard.until(lambda: heard.gaps)
        assert heard.gaps == {"stale": 1}
        assert not heard.pubsub.publish_nowait("c", b"2")
        assert heard.pubsub.lost == {"stale": 2}
        await trio.to_thread.run_sync(fragile_redis.start)
        await heard.pubsub.wait_ready()
        assert heard.pubsub.publish_nowait("c", b"3")
        await heard.until_messages(1)
        assert heard.messages == [("c", b"3")]


FLOOD = """
import socket, sys
wire = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
command = b"*3\\r\\n$7\\r\\nPUBLISH\\r\\n$1\\r\\nc\\r\\n$10000\\r\\n" + b"x" * 10000 + b"\\r\\n"
for _ in range(30):
    wire.sendall(command * 100)
    for _ in range(100):
        wire.recv(4, socket.MSG_WAITALL)
"""


async def test_redis_cuts_off_who_is_too_slow(fragile_redis: RedisServer) -> None:
    fragile_redis.command("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 0 0")
    async with opened(fragile_redis) as heard:
        ended = False

        def receive(channel: str, message: bytes) -> None:
            nonlocal ended
            heard.receive(channel, message)
            if not ended:
                # The whole program stands still, while 30 MB come.
                subprocess.run([sys.executable, "-c", FLOOD, str(fragile_redis.port)], check=True, timeout=60)
                ended = True

        heard.pubsub.subscribe("c", receive)
        heard.pubsub.publish_nowait("c", b"first")
        await heard.until(lambda: heard.gaps)
        assert heard.gaps["interrupted"] == 1
        assert 0 < len(heard.messages) < 3000
        heard.messages.clear()
        await heard.pubsub.wait_ready()
        heard.pubsub.publish_nowait("c", b"last")
        await heard.until(lambda: ("c", b"last") in heard.messages)


@pytest.mark.hostile("B11")
async def test_a_message_that_is_too_large_is_lost_and_nothing_else(redis_server: RedisServer) -> None:
    async with opened(redis_server, PubSubSettings(max_bytes=1000)) as heard:
        for size in (1000, 1001, 1_000_000, 1):
            assert heard.pubsub.publish_nowait("c", b"x" * size)
        await heard.until_messages(2)
        assert [len(message) for _, message in heard.messages] == [1000, 1]
        await heard.until(lambda: heard.gaps == {"oversized": 2})
        assert heard.ready == [True]


# Access rules.


async def test_what_is_forbidden_is_told(redis_server: RedisServer) -> None:
    redis_server.command("ACL", "SETUSER", "deaf", "on", ">secret", "+hello", "+ping", "+publish", "&*")
    url = f"redis://deaf:secret@127.0.0.1:{redis_server.port}"
    heard = make(redis_server, url=url)
    heard.pubsub.subscribe("c", heard.receive)
    with pytest.raises(ConfigurationError, match="access rules forbid"):
        async with heard.pubsub.open():
            raise AssertionError


async def test_access_is_revoked_while_it_runs(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    rules = ("ACL", "SETUSER", "passing", "on", ">secret", "+@all", "&*")
    redis_server.command(*rules)
    heard = make(redis_server, url=f"redis://passing:secret@127.0.0.1:{redis_server.port}")
    heard.pubsub.subscribe("c", heard.receive)
    with trio.fail_after(20):
        async with heard.pubsub.open():
            redis_server.command("ACL", "SETUSER", "passing", "off")
            redis_server.command("CLIENT", "KILL", "USER", "passing")
            await heard.until(lambda: any(record.levelname == "ERROR" for record in caplog.records))
            assert not heard.pubsub.ready
            tries = _connections(redis_server)
            await heard.until(lambda: _connections(redis_server) > tries + 5)  # which are its and ours
            redis_server.command(*rules)
            await heard.pubsub.wait_ready()
    errors = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert "does not accept the name or the password" in errors[0]
    assert "secret" not in caplog.text


def _connections(server: RedisServer) -> int:
    answer = server.command("INFO", "stats").decode()
    return int(answer.partition("total_connections_received:")[2].split()[0])


# Ending.


async def test_wherever_it_is_cancelled_nothing_is_left(redis_server: RedisServer) -> None:
    def clients() -> int:
        return redis_server.command("CLIENT", "LIST").count(b" addr=")

    before = clients()
    heard = make(redis_server)

    async def scenario(heard: Heard) -> None:
        async with heard.pubsub.open():
            heard.pubsub.publish_nowait("c", b"1")
            await heard.until_messages(1)
            redis_server.command("CLIENT", "KILL", "TYPE", "pubsub")
            await heard.until(lambda: len(heard.ready) >= 3)
            await heard.pubsub.command("PING")

    # Step by step, until it is through.
    for step in range(1, 2000, 7):
        heard = make(redis_server)
        heard.pubsub.subscribe("c", heard.receive)
        with trio.CancelScope() as scope:
            counter = _CancelAtStep(scope, step)
            trio.lowlevel.add_instrument(counter)
            try:
                await scenario(heard)
            finally:
                trio.lowlevel.remove_instrument(counter)
        assert not heard.pubsub.ready
        if not scope.cancelled_caught:
            break
    else:
        raise AssertionError("It never gets through.")
    with trio.fail_after(10):
        await heard.until(lambda: clients() == before)


class _CancelAtStep(trio.abc.Instrument):
    def __init__(self, scope: trio.CancelScope, step: int) -> None:
        self._scope = scope
        self._left = step

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._left -= 1
        if not self._left:
            self._scope.cancel()


# What it costs.


async def test_a_flood_is_read_as_fast_as_it_is_handled_and_no_faster(fragile_redis: RedisServer) -> None:
    """What is not handled yet waits at Redis, and not here."""
    async with opened(fragile_redis) as heard:
        most = 0
        link: Any = heard.pubsub._link

        def receive(channel: str, message: bytes) -> None:
            nonlocal most
            heard.receive(channel, b"")
            most = max(most, len(link._reader._buffer))

        heard.pubsub.subscribe("c", receive)
        await trio.run_process([sys.executable, "-c", FLOOD, str(fragile_redis.port)])
        await heard.until_messages(3000)
        assert most < 64 * 1024
