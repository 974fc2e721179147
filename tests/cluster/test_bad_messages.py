"""What others say that is no message, or none for this server: counted and dropped, and nothing ends."""

from __future__ import annotations

import json
import logging

import pytest
import trio
import trio.testing

from tests.cluster.stub import LIMITS, Peer, open_node
from trio_sio import Config, Lagged, Limits
from trio_sio.cluster import codec, messages
from trio_sio.cluster.bad import COMPLAINTS
from trio_sio.cluster.fields import EVERYBODY
from trio_sio.cluster.payload import MAX_BYTES

Clock = trio.testing.MockClock

settle = trio.testing.wait_all_tasks_blocked


@pytest.fixture(autouse=True)
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "trio_sio")
    return caplog


@pytest.mark.hostile("B05")
async def test_its_own_words_and_those_of_other_namespaces_are_nothing_to_it(lines: pytest.LogCaptureFixture) -> None:
    async with open_node() as (fleet, cluster):
        client = await fleet.client(0)
        adapter = cluster.adapter()
        assert len(bytes.fromhex(adapter.uid)) * 8 == 128
        assert adapter.uid != cluster.adapter("/chat").uid
        myself, peer = Peer(cluster, adapter.uid), Peer(cluster)
        myself.emit("echo")
        myself.publish(messages.ServerSideEmit, event=("echo",))
        myself.publish(messages.AdapterClose)
        cluster.received("/", codec.encode(messages.Broadcast(uid="peer", namespace="/chat", event=("x",), options=EVERYBODY), LIMITS))
        cluster.received("/nobody", codec.encode(messages.Heartbeat(uid="peer", namespace="/nobody"), LIMITS))
        assert (len(adapter.peers), len(cluster.adapter("/chat").peers)) == (0, 0)
        peer.emit("end")
        assert (await client.receive()).name == "end"
        assert not cluster.bad_messages
        assert not lines.messages


BROKEN: dict[str, tuple[str, bytes]] = {
    "nothing": ("format", b""),
    "half": ("format", b'{"type":3,"uid":"peer","nsp":"/"'),
    "no JSON": ("format", b'{"type":3,"uid":"peer","nsp":"/","data":\xff}'),
    "a list": ("format", b"[1, 2]"),
    "a number in MessagePack": ("schema", b"\x07"),
    "a pickle": ("pickle", b"\x80\x04\x95"),
    "no type": ("schema", b'{"uid":"peer","nsp":"/"}'),
    "no sender": ("schema", b'{"type":2,"nsp":"/"}'),
    "a sender without end": ("schema", b'{"type":2,"uid":"' + b"x" * 1_000 + b'","nsp":"/"}'),
    "no namespace": ("schema", b'{"type":2,"uid":"peer","nsp":"x"}'),
    "a count below zero": ("schema", b'{"type":11,"uid":"peer","nsp":"/","data":{"requestId":"x","clientCount":-1}}'),
    "a number below zero": ("schema", b'{"type":2,"uid":"peer","nsp":"/","number":-1}'),
    "no options": ("schema", b'{"type":3,"uid":"peer","nsp":"/","data":{"packet":{"type":2,"data":["x"]}}}'),
    "no rooms": ("schema", b'{"type":3,"uid":"peer","nsp":"/","data":{"packet":{"type":2,"data":["x"]},"opts":{"rooms":null}}}'),
    "a reserved name": ("schema", b'{"type":3,"uid":"peer","nsp":"/","data":{"packet":{"type":2,"data":["connect"]},"opts":{"rooms":[]}}}'),
    "too deep": ("format", b'{"type":10,"uid":"peer","nsp":"/","data":{"requestId":"x","packet":' + b"[" * 5_000 + b"]" * 5_000 + b"}}"),
    "too large": ("size", b"{" + b" " * MAX_BYTES + b"}"),
    "too many rooms for its size": (
        "size",
        json.dumps(
            {"type": 4, "uid": "peer", "nsp": "/", "data": {"opts": {"rooms": [f"{n:07}" for n in range(10**6)]}, "rooms": ["x"]}}
        ).encode(),
    ),
    "an extension type": ("format", b"\x81\xa4type\xd4\x05\x00"),
    "text that is no UTF-8": ("format", b"\x81\xa4type\xa2\xff\xff"),
}


@pytest.mark.hostile("B11", "B12")
@pytest.mark.parametrize("what", BROKEN)
async def test_what_is_no_message_is_counted_and_nothing_else(what: str, lines: pytest.LogCaptureFixture) -> None:
    kind, payload = BROKEN[what]
    async with open_node() as (fleet, cluster):
        client = await fleet.client(0)
        cluster.received("/", payload)
        assert cluster.bad_messages == {kind: 1}
        assert len(cluster.adapter().peers) == 0
        assert len(lines.messages) == 1
        assert lines.messages[0].endswith("It is dropped; 1 were so far.")
        Peer(cluster).emit("x")
        assert (await client.receive()).name == "x"


async def test_the_log_has_one_line_a_minute(autojump_clock: Clock, lines: pytest.LogCaptureFixture) -> None:
    async with open_node() as (_, cluster):
        for _ in range(3):
            for _ in range(100):
                cluster.received("/", b"{")
            await trio.sleep(COMPLAINTS + 1)
        assert cluster.bad_messages == {"format": 300}
        assert [line.rpartition("dropped; ")[2] for line in lines.messages] == ["1 were so far.", "101 were so far.", "201 were so far."]


@pytest.mark.hostile("B06")
async def test_messages_of_a_later_version_are_counted_and_ignored(lines: pytest.LogCaptureFixture) -> None:
    async with open_node() as (_, cluster):
        cluster.received("/", b'{"type":77,"uid":"peer","nsp":"/","data":{"anything":1}}')
        assert cluster.bad_messages == {"unknown": 1}
        assert list(cluster.adapter().peers) == ["peer"]
        assert not lines.messages


async def test_an_exception_in_here_costs_one_message(monkeypatch: pytest.MonkeyPatch, lines: pytest.LogCaptureFixture) -> None:
    async with open_node() as (fleet, cluster):
        client, peer = await fleet.client(0), Peer(cluster)

        def fail(*args: object) -> None:
            raise LookupError("planted")

        with monkeypatch.context() as patch:
            patch.setattr(cluster.adapter(), "leave_members", fail)
            peer.publish(messages.SocketsLeave, options=EVERYBODY, rooms=frozenset("a"))
        peer.emit("x")
        assert (await client.receive()).name == "x"
        assert cluster.bad_messages == {"failed": 1}
        assert lines.messages == ["A message of another server failed; it is dropped."]


async def test_who_listens_here_and_fails_costs_nothing(lines: pytest.LogCaptureFixture) -> None:
    async with open_node() as (fleet, cluster):
        clients, peer = [await fleet.client(0) for _ in range(2)], Peer(cluster)

        def fail(*args: object) -> None:
            raise LookupError("planted")

        fleet.socket(0, clients[0]).on_any_outgoing(fail)
        async with fleet.servers[0].subscribe(size=1) as channel:
            for number in range(2):
                peer.emit("x", number)
                peer.emit("q", number, request_id=f"{number}")
            assert await channel.receive() == ("x", (0,))
            with pytest.raises(Lagged):
                await channel.receive()
        await settle()
        assert [[event.args[0] for event in client.pending if event.name == "x"] for client in clients] == [[0, 1], [0, 1]]
        assert [message.count for message in cluster.all_said(messages.BroadcastClientCount, "peer")] == [2, 2]
        assert not cluster.bad_messages
        assert len(lines.messages) == 4


async def test_an_event_that_the_clients_here_cannot_be_sent_costs_one_message(lines: pytest.LogCaptureFixture) -> None:
    async with open_node(Config(limits=Limits(outbox_bytes=20_000))) as (fleet, cluster):
        client, peer = await fleet.client(0), Peer(cluster)
        peer.emit("x", "y" * 20_000)
        peer.emit("x", "y" * 20_000, request_id="q")
        assert cluster.last_said(messages.BroadcastClientCount, "peer").count == 0
        assert len(cluster.adapter()._relays) == 0
        peer.emit("end")
        assert (await client.receive()).name == "end"
        assert cluster.bad_messages == {"undeliverable": 2}
        assert len(lines.messages) == 1
