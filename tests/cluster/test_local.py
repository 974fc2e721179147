"""Servers of one machine that are linked by sockets: the conformance suite, and what becomes of a process that does not read."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from trio_sio.cluster import local
from trio_sio.cluster.local import LocalCluster
from trio_sio.config import Config
from trio_sio.testing.adapter_suite import AdapterSuite
from trio_sio.testing.fleet import Fleet, open_fleet


def linked(cluster: LocalCluster, *others: LocalCluster) -> LocalCluster:
    """Link ``cluster`` with ``others`` and return it."""
    for other in others:
        here, there = socket.socketpair()
        cluster.link(here)
        other.link(there)
    return cluster


class TestLocalCluster(AdapterSuite):
    @pytest.fixture(autouse=True)
    def nobody(self) -> None:
        self._clusters: list[LocalCluster] = []

    def cluster(self) -> LocalCluster:
        """Return one more; the tests run it after those before it, or while they run."""
        cluster = linked(LocalCluster(), *self._clusters)
        self._clusters.append(cluster)
        return cluster


@asynccontextmanager
async def open_pair(config: Config | None = None) -> AsyncIterator[tuple[Fleet, LocalCluster, LocalCluster]]:
    one = LocalCluster()
    other = linked(LocalCluster(), one)
    async with open_fleet([one, other], config) as fleet:
        yield fleet, one, other


async def test_a_message_of_any_size_arrives() -> None:
    async with open_pair() as (fleet, _, _):
        client = await fleet.client(1)
        for size in (1, 300_000, 1_000_000):
            await fleet.servers[0].emit("x", "a" * size)
            assert await client.once("x") == ("a" * size,)


async def test_what_is_emitted_at_once_arrives_in_order() -> None:
    async with open_pair(Config(slow_consumer="disconnect")) as (fleet, _, other):
        client = await fleet.client(1)
        for number in range(500):
            fleet.servers[0].emit_nowait("x", number)
        for number in range(500):
            assert await client.once("x") == (number,)
        assert not other.gaps


async def test_what_is_emitted_turn_by_turn_is_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a socket whose events came together: what they cost at the other process is mostly a write to each of its clients."""
    sent = list[list[bytes]]()

    def batch(link: local._Link) -> Iterator[bytes]:
        sent.append(list(link._queue))
        return iter(original(link))

    original = local._Link._batch
    monkeypatch.setattr(local._Link, "_batch", batch)
    monkeypatch.setattr(local, "SECONDS_POSTPONED", 1.0)
    async with open_pair() as (fleet, _, _):
        client = await fleet.client(1)
        await trio.testing.wait_all_tasks_blocked(0.05)
        for count in (1, 4, 8):
            sent.clear()
            for number in range(count):
                await fleet.servers[0].emit("x", number)
            assert [(await client.once("x"))[0] for _ in range(count)] == list(range(count))
            assert [len(frames) for frames in sent] == [count]


async def test_who_has_ended_is_not_waited_for() -> None:
    """Without a goodbye, as after ``kill -9``: its end of the socket says so."""
    one = LocalCluster()
    here, there = socket.socketpair()
    one.link(here)
    async with open_fleet([one], servers=1) as fleet:
        await fleet.servers[0].of("/").adapter.settled()
        # A process that says hello, and ends while it is asked.
        with there:
            hello = b'{"type":1,"uid":"other","nsp":"/"}'
            there.sendall(local._pack("/", "other", hello))
            await fleet.settle(2)
            with trio.fail_after(2):
                async with trio.open_nursery() as nursery:

                    @nursery.start_soon
                    async def end() -> None:
                        await trio.testing.wait_all_tasks_blocked(0.05)
                        there.close()

                    assert await fleet.servers[0].fetch_sockets() == []
        assert await one.server_count() == 1
        assert not one.linked


@pytest.mark.hostile("K09")
async def test_a_process_that_does_not_read_is_cut_off_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "MOST_BYTES", 100_000)
    async with open_pair() as (fleet, one, other):
        here, stuck = socket.socketpair()
        one.link(here)
        with stuck:
            gaps = list[str]()
            one.on_gap(gaps.append)
            client = await fleet.client(1)
            for number in range(100):
                await fleet.servers[0].emit("x", number, "." * 10_000)
                assert (await client.once("x"))[0] == number
            assert len(gaps) == one.gaps == 1
            assert "does not read" in gaps[0]
            (link,) = [link for link in one._links if link.lost]
            assert not link._queue
            assert not other.gaps
            # It reads again: what was half sent comes to its end, and then what is published from now on.
            reader, heard, was_lost = local._Reader(), list[bytes](), link.lost
            stuck.setblocking(False)
            with trio.fail_after(5):
                while link.lost or not heard or b"again" not in heard[-1]:
                    try:
                        heard += [frame.message for frame in reader.feed(stuck.recv(1 << 20))]
                    except BlockingIOError:
                        if not link.lost:
                            await fleet.servers[0].emit("again")
                        await trio.sleep(0.001)
            assert was_lost > 10
            assert one.gaps == 1


async def test_too_many_small_messages_are_too_much_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "MOST_MESSAGES", 20)
    one = LocalCluster()
    here, stuck = socket.socketpair()
    one.link(here)
    with stuck:
        async with open_fleet([one], servers=1) as fleet:
            for _ in range(30):
                fleet.servers[0].emit_nowait("x")
            assert one.gaps == 1


@pytest.mark.hostile("K09")
@pytest.mark.parametrize("messages", [30, 1])
async def test_too_much_in_one_turn_is_lost_and_what_is_published_then_arrives(monkeypatch: pytest.MonkeyPatch, messages: int) -> None:
    """Nothing is half sent then, so there is no end of that to wait for."""
    async with open_pair() as (fleet, one, other):
        client = await fleet.client(1)
        await fleet.servers[0].emit("before")
        await client.once("before", timeout=5)
        monkeypatch.setattr(local, "MOST_MESSAGES", 20)
        monkeypatch.setattr(local, "MOST_BYTES", 10_000)
        for _ in range(messages):
            fleet.servers[0].emit_nowait("x", "." * (20_000 // messages))
        assert one.gaps == 1
        await trio.testing.wait_all_tasks_blocked(0.05)
        await fleet.servers[0].emit("after")
        await client.once("after", timeout=5)
        assert (one.gaps, other.gaps) == (1, 1)


@pytest.mark.hostile("K09")
async def test_what_is_emitted_when_a_gap_is_told_comes_behind_what_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who are not behind would otherwise hear of the second first, and take it that the first is lost."""
    clusters = [one := LocalCluster()]
    for _ in range(3):
        clusters.append(linked(LocalCluster(), *clusters))
    async with open_fleet(clusters) as fleet:
        clients = [await fleet.client(number) for number in (1, 2, 3)]
        # As if it was full: the first one that gets what is published.
        behind = next(iter(one._links))
        monkeypatch.setattr(behind, "lost", 1)
        monkeypatch.setattr(behind, "put", lambda frame: True)
        one.on_gap(lambda _: fleet.servers[0].emit_nowait("second"))
        await fleet.servers[0].emit("first")
        for server, client in zip(fleet.servers[1:], clients, strict=True):
            if server.of("/").adapter.uid != behind.uids["/"]:  # type: ignore[attr-defined]
                assert [(await client.receive())[0] for _ in range(2)] == ["first", "second"]
        assert sum(server.cluster.gaps for server in fleet.servers[1:] if server.cluster is not None) == 0


@pytest.mark.hostile("K08")
@pytest.mark.parametrize(
    "nonsense",
    [struct.pack("=IHH", 1 << 31, 1, 1), struct.pack("=IHH", 3, 2, 2), struct.pack("=IHH", 4, 2, 2) + b"\xff\xff\xff\xff"],
    ids=["size", "names", "text"],
)
async def test_who_sends_nonsense_is_given_up(nonsense: bytes) -> None:
    one = LocalCluster()
    here, there = socket.socketpair()
    one.link(here)
    with there:
        async with open_fleet([one], servers=1):
            there.sendall(nonsense)
            with trio.fail_after(2):
                while one.linked:  # noqa: ASYNC110 - nobody is told
                    await trio.sleep(0.001)
            assert one.gaps == 1


async def test_last_words_leave_although_everything_is_cancelled() -> None:
    one = LocalCluster()
    here, there = socket.socketpair()
    one.link(here)
    with there:
        async with open_fleet([one], servers=1) as fleet:
            await fleet.servers[0].emit("last")
        there.setblocking(False)
        words = [frame.message for frame in local._Reader().feed(there.recv(1 << 20)) if frame.namespace == "/"]
        assert b'"last"' in words[-2]
        assert b'"type":13' in words[-1]
        assert there.recv(1) == b""


async def test_frames_come_together_from_any_pieces() -> None:
    data = local._pack("/ä", "one", b"x" * 10) + local._pack("/", "two", b"")
    for size in range(1, len(data)):
        reader = local._Reader()
        frames = [frame for start in range(0, len(data), size) for frame in reader.feed(data[start : start + size])]
        assert frames == [("/ä", "one", b"x" * 10), ("/", "two", b"")]
