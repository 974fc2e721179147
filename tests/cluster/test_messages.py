"""The thirteen messages of Node's ``ClusterAdapter``: as Node writes them, and with anything instead."""

from __future__ import annotations

import base64
import datetime
import json
import math
import random
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cluster.recordings import Recorded, load
from trio_sio.cluster.codec import decode, encode
from trio_sio.cluster.fields import EVERYBODY, Flags, Options, SocketDetails
from trio_sio.cluster.messages import (
    AdapterClose,
    Broadcast,
    BroadcastAck,
    BroadcastClientCount,
    DisconnectSockets,
    FetchSockets,
    FetchSocketsResponse,
    FindSession,
    FoundSession,
    HandOver,
    Heartbeat,
    InitialHeartbeat,
    Message,
    OpenNamespace,
    ServerSideEmit,
    ServerSideEmitResponse,
    SocketsJoin,
    SocketsLeave,
    Taken,
    UnknownMessage,
)
from trio_sio.cluster.moving import Knowledge, Past, SessionDetails
from trio_sio.cluster.payload import MAX_BYTES, dumps_msgpack
from trio_sio.errors import BusMessageError, EncodeError
from trio_sio.limits import Limits

LIMITS = Limits()
SHARDED, HEARTBEATS, STREAMS = load("sharded"), load("heartbeats"), load("streams")
BYTES = b"\x00\x01\xfe\xff"
A, B = SHARDED.uids["A"]["/"], SHARDED.uids["B"]["/"]
VALUES: tuple[object, ...] = (1, -1, 1.5, 2**40, -(2**40), "é😀", "x" * 300, True, False, None, [], {}, [[1], {"a": [2]}])
MOMENT = datetime.datetime(2026, 11, 29, 12, 34, 56, 789_000, tzinfo=UTC)


def options(*rooms: str, excluded: Sequence[str] = (), **flags: Any) -> Options:
    return Options(rooms=frozenset(rooms), excluded=frozenset(excluded), flags=Flags(**flags))


def event(*data: object, to: Options = EVERYBODY, uid: str = A, namespace: str = "/") -> Broadcast:
    return Broadcast(uid=uid, namespace=namespace, event=data, options=to)


# What Node writes.

CHAT = SHARDED.uids["A"]["/chat"]
EXPECTED: dict[str, Message] = {
    "broadcast": event("hello", "é", 1),
    "broadcast of values": event("values", *VALUES),
    "broadcast of undefined": event("undefined", None, {"b": 1}),
    "broadcast of a date": event("date", "2026-11-29T12:34:56.789Z"),
    "broadcast of bytes and a date": event(
        "date", BYTES, MOMENT, datetime.datetime(1970, 1, 1, tzinfo=UTC), datetime.datetime(1969, 12, 31, 23, 59, 59, 999_000, UTC)
    ),
    "broadcast of half a surrogate pair": event("half", "\ud800"),
    "broadcast without arguments": event("hello"),
    "broadcast to a room": event("hello", to=options("a")),
    "broadcast to a room with a hash": event("hello", to=options("a#b*")),
    "broadcast to a room that is a number": event("hello", to=options("1")),
    "broadcast to rooms": event("hello", to=options("a", "b")),
    "broadcast with except": event("hello", to=options(excluded=["a"])),
    "broadcast to a room with except": event("hello", to=options("a", excluded=["b", "c"])),
    "volatile broadcast": event("hello", to=options(volatile=True)),
    "compressed broadcast": event("hello", to=options(compress=True)),
    "uncompressed broadcast": event("hello", to=options(compress=False)),
    "broadcast of bytes": event("bytes", BYTES, {"nested": [BYTES]}),
    "broadcast of many bytes": event("bytes", b"\x07" * 300),
    "broadcast of a typed array": event("bytes", BYTES),
    "broadcast in a namespace": event("hello", uid=CHAT, namespace="/chat"),
    "broadcast to a room in a namespace": event("hello", uid=CHAT, namespace="/chat", to=options("a")),
    "sockets join": SocketsJoin(uid=A, namespace="/", options=options("a"), rooms=frozenset("cd")),
    "sockets join with except": SocketsJoin(uid=A, namespace="/", options=options("a", excluded=["b"]), rooms=frozenset("c")),
    "sockets leave": SocketsLeave(uid=A, namespace="/", options=options("a"), rooms=frozenset("c")),
    "disconnect sockets": DisconnectSockets(uid=A, namespace="/", options=options("nobody"), close=False),
    "disconnect sockets and close": DisconnectSockets(uid=A, namespace="/", options=options("nobody"), close=True),
    "server-side emit": ServerSideEmit(uid=A, namespace="/", event=("server", "é", {"a": [1, None]})),
    "server-side emit of bytes": ServerSideEmit(uid=A, namespace="/", event=("server", BYTES)),
}


@pytest.mark.parametrize("called", EXPECTED)
def test_what_node_sends_means_what_was_called(called: str) -> None:
    assert decode(SHARDED.of(called), LIMITS) == EXPECTED[called]


def test_every_call_that_is_not_answered_is_expected() -> None:
    answered = {one.called for one in SHARDED.messages if one.sender == "B"}
    assert {one.called for one in SHARDED.messages} == answered | set(EXPECTED)


@pytest.mark.parametrize(
    ("called", "question", "value"),
    [
        ("server-side emit with ack", ("server", 1), {"from": "B", "args": 1}),
        ("server-side emit with ack of nothing", ("server nothing",), None),
        ("server-side emit with ack of bytes", ("server bytes", BYTES), BYTES),
    ],
)
def test_server_side_events_are_answered(called: str, question: tuple[object, ...], value: object) -> None:
    asked, answer = decode(SHARDED.of(called), LIMITS), decode(SHARDED.of(called, "B"), LIMITS)
    assert isinstance(asked, ServerSideEmit)
    assert asked.event == question
    assert asked.request_id
    assert answer == ServerSideEmitResponse(uid=B, namespace="/", request_id=asked.request_id, value=value)


@pytest.mark.parametrize(
    ("called", "question", "to", "values"),
    [
        ("broadcast with ack", ("question", {"a": 1}), options(timeout=1), [{"a": 1}]),
        ("broadcast with ack of bytes", ("question", BYTES), options(timeout=1), [BYTES]),
        ("broadcast with ack of nothing", ("question nothing",), options(timeout=1), [None]),
        ("broadcast with ack to a room", ("question", 1), options("a", excluded=["c"], volatile=True, timeout=1), [1]),
        ("broadcast with ack to nobody", ("question", 1), options("nobody", timeout=1), []),
    ],
)
def test_broadcasts_are_answered(called: str, question: tuple[object, ...], to: Options, values: list[object]) -> None:
    asked = decode(SHARDED.of(called), LIMITS)
    assert isinstance(asked, Broadcast)
    assert asked.request_id
    assert (asked.event, asked.options) == (question, to)
    answers = [decode(payload, LIMITS) for payload in SHARDED.all_of(called, "B")]
    acks = [BroadcastAck(uid=B, namespace="/", request_id=asked.request_id, value=value) for value in values]
    assert answers == [BroadcastClientCount(uid=B, namespace="/", request_id=asked.request_id, count=len(values)), *acks]


@pytest.mark.parametrize(("called", "data"), [("fetch sockets", {"name": "é", "count": 3}), ("fetch sockets with bytes", {"bytes": BYTES})])
def test_sockets_are_fetched(called: str, data: object) -> None:
    asked, answer = decode(SHARDED.of(called), LIMITS), decode(SHARDED.of(called, "B"), LIMITS)
    assert isinstance(asked, FetchSockets)
    assert asked == FetchSockets(uid=A, namespace="/", options=options("a"), request_id=asked.request_id)
    assert isinstance(answer, FetchSocketsResponse)
    assert (answer.uid, answer.request_id) == (B, asked.request_id)
    (socket,) = answer.sockets
    assert (socket.id, socket.data) == (SHARDED.sid, data)
    assert {SHARDED.sid, "a", "b"} <= socket.rooms
    assert socket.handshake["query"]["EIO"] == "4"


def test_of_nobody_no_socket_is_fetched() -> None:
    answer = decode(SHARDED.of("fetch sockets of nobody", "B"), LIMITS)
    assert isinstance(answer, FetchSocketsResponse)
    assert answer.sockets == ()


def test_heartbeats_are_read() -> None:
    first, second = HEARTBEATS.uids["A"]["/"], HEARTBEATS.uids["B"]["/"]
    assert decode(HEARTBEATS.of("initial heartbeat"), LIMITS) == InitialHeartbeat(uid=first, namespace="/")
    assert decode(HEARTBEATS.of("initial heartbeat, answered"), LIMITS) == Heartbeat(uid=first, namespace="/")
    assert decode(HEARTBEATS.of("adapter close", "B"), LIMITS) == AdapterClose(uid=second, namespace="/")


# Of these one writes something else that means the same: a moment in notepack.io's older form, numbers of rooms as their
# names, and null for nothing.
OTHERWISE = {
    "broadcast of bytes and a date",
    "broadcast to a room that is a number",
    "server-side emit with ack of nothing",
    "broadcast with ack of nothing",
}
RECORDED = [one for recording in (SHARDED, HEARTBEATS) for one in recording.messages]


@pytest.mark.parametrize("recorded", RECORDED, ids=str)
def test_what_node_sends_is_written_as_node_does(recorded: Recorded) -> None:
    message = decode(recorded.payload, LIMITS)
    written = encode(message, LIMITS)
    assert written == recorded.payload or recorded.called in OTHERWISE
    assert decode(written, LIMITS) == message


@pytest.mark.parametrize("recorded", STREAMS.messages, ids=str)
def test_what_the_streams_adapter_publishes_is_read(recorded: Recorded) -> None:
    """It writes MessagePack with another library, in which `undefined` is nil."""
    assert type(decode(recorded.payload, LIMITS)).TYPE in {3, 7, 8, 9, 10, 11, 12}


NODE = """
const path = require("node:path");
const { decode } = require(require.resolve("notepack.io", { paths: [require.resolve("@socket.io/redis-adapter")] }));
const shown = (value) =>
  value instanceof Date ? { date: value.getTime() }
  : Buffer.isBuffer(value) ? { bytes: value.toString("base64") }
  : Array.isArray(value) ? value.map(shown)
  : value && typeof value === "object" ? Object.fromEntries(Object.entries(value).map(([key, one]) => [key, shown(one)]))
  : value;
let text = "";
process.stdin.on("data", (data) => (text += data)).on("end", () => {
  const all = JSON.parse(text).map((one) => Buffer.from(one, "base64"));
  const values = all.map((one) => (one[0] === 0x7b ? JSON.parse(one.toString()) : decode(one)));
  console.log(JSON.stringify(shown(values)));
});
"""


def as_node_shows(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return {"date": round(value.timestamp() * 1000)}
    if isinstance(value, bytes | bytearray):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, list | tuple):
        return [as_node_shows(one) for one in value]
    if isinstance(value, dict):
        return {key: as_node_shows(one) for key, one in value.items()}
    return value


@pytest.mark.needs("node", "@socket.io/redis-adapter")
def test_node_reads_what_we_write() -> None:
    messages = [
        event("hello", "é", 1, *VALUES, to=options("b", "a", excluded=["c"], volatile=True, compress=False, timeout=1.5, key="k")),
        event("bytes", BYTES, bytearray(BYTES), [MOMENT]),
        event("date", MOMENT),
        ServerSideEmit(uid=A, namespace="/x", event=("server", BYTES), request_id="1"),
        ServerSideEmitResponse(uid=A, namespace="/", request_id="1", value=[1]),
        FetchSocketsResponse(
            uid=A, namespace="/", request_id="1", sockets=(SocketDetails(id="s", handshake={"a": 1}, rooms=frozenset("b"), data=BYTES),)
        ),
    ]
    given = json.dumps([base64.b64encode(encode(message, LIMITS)).decode() for message in messages])
    root = Path(__file__).parent.parent.parent
    ran = subprocess.run(["node", "-e", NODE], input=given, capture_output=True, text=True, check=True, timeout=60, cwd=root)
    wires = [{"type": one.TYPE, "data": one.data(), "uid": one.uid, "nsp": one.namespace} for one in messages]
    assert json.loads(ran.stdout) == as_node_shows(wires)


# Anything.

names = st.text(min_size=1, max_size=20)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
rooms = st.frozensets(st.text(max_size=5), max_size=4)
flags = st.builds(
    Flags,
    volatile=st.booleans(),
    key=st.none() | names,
    compress=st.none() | st.booleans(),
    timeout=st.none() | st.integers(0, 10**9).map(lambda milliseconds: milliseconds / 1000),
)
some_options = st.builds(Options, rooms=rooms, excluded=rooms, flags=flags)
event_names = names.filter(
    lambda name: name not in {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)
events = st.tuples(event_names) | st.tuples(event_names, values) | st.tuples(event_names, values, values)
sockets = st.builds(SocketDetails, id=names, handshake=st.dictionaries(names, values, max_size=3), rooms=rooms, data=values)
ends = {"uid": names, "namespace": st.text(max_size=10).map(lambda name: f"/{name}")}
seconds = st.floats(0, 10**9)
sessions = {"sid": names, "pid": names, "rooms": rooms, "seconds": seconds}
details = st.one_of(
    st.builds(SessionDetails, **sessions, data=st.dictionaries(names, values, max_size=3)),
    st.builds(SessionDetails, **sessions, data=values, is_typed=st.just(True)),
)
places = st.integers(0, 2**53 - 1)
heard = st.dictionaries(names, st.integers(0, 2**53 - 1), max_size=3)
gone = st.dictionaries(names, st.tuples(st.integers(0, 2**53 - 1), seconds), max_size=3)
messages = st.one_of(
    st.builds(InitialHeartbeat, **ends),
    st.builds(Heartbeat, **ends),
    st.builds(Broadcast, **ends, event=events, options=some_options, request_id=st.none() | names),
    st.builds(SocketsJoin, **ends, options=some_options, rooms=rooms),
    st.builds(SocketsLeave, **ends, options=some_options, rooms=rooms),
    st.builds(DisconnectSockets, **ends, options=some_options, close=st.booleans()),
    st.builds(FetchSockets, **ends, options=some_options, request_id=names),
    st.builds(FetchSocketsResponse, **ends, request_id=names, sockets=st.lists(sockets, max_size=3).map(tuple)),
    st.builds(ServerSideEmit, **ends, event=events, request_id=st.none() | names),
    st.builds(ServerSideEmitResponse, **ends, request_id=names, value=values),
    st.builds(BroadcastClientCount, **ends, request_id=names, count=st.integers(0, 2**53 - 1)),
    st.builds(BroadcastAck, **ends, request_id=names, value=values),
    st.builds(AdapterClose, **ends),
    st.builds(FindSession, **ends, request_id=names, pid=names, offset=st.none() | names),
    st.builds(FoundSession, **ends, request_id=names, is_moving=st.booleans()),
    st.builds(
        FoundSession,
        **ends,
        number=st.integers(0, 2**53 - 1),
        request_id=names,
        session=details,
        events=st.lists(events, max_size=3).map(tuple),
        knowledge=st.builds(Knowledge, heard=heard, gone=gone),
    ),
    st.builds(
        HandOver,
        **ends,
        number=st.integers(0, 2**53 - 1),
        session=details,
        past=st.builds(Past, prefix=names, newest=places, offset=st.none() | names, events=st.lists(st.tuples(places, events)).map(tuple)),
        knowledge=st.builds(Knowledge, heard=heard, gone=gone),
    ),
    st.builds(OpenNamespace, **ends, name=ends["namespace"]),
    st.builds(Taken, **ends, number=st.integers(0, 2**53 - 1), taken=st.booleans()),
)


@given(messages)
def test_what_is_written_is_read_again(message: Message) -> None:
    assert decode(encode(message, LIMITS), LIMITS) == message


def _decode_or_refuse(payload: bytes) -> None:
    start, refusal = time.process_time(), None
    try:
        decode(payload, LIMITS)
    except BusMessageError as exc:
        refusal = exc
    assert time.process_time() - start < 1
    if refusal is not None:
        assert refusal.kind in {"size", "format", "schema", "pickle"}
        assert str(refusal).endswith(".")
        assert len(str(refusal)) < 300


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(payload: bytes) -> None:
    _decode_or_refuse(payload)


def mutations(payload: bytes, seed: int) -> list[bytes]:
    generator = random.Random(seed)
    found = [payload[:cut] for cut in range(0, len(payload), max(1, len(payload) // 40))]
    for _ in range(150):
        changed = bytearray(payload)
        for _ in range(generator.randint(1, 3)):
            place = generator.randrange(len(changed))
            match generator.randrange(3):
                case 0:
                    changed[place] = generator.randrange(256)
                case 1:
                    changed[place:place] = generator.randbytes(generator.randint(1, 4))
                case _:
                    del changed[place : place + generator.randint(1, 4)]
            changed = changed or bytearray(b"x")
        found.append(bytes(changed))
    return found


@pytest.mark.parametrize("recorded", [*RECORDED, *STREAMS.messages], ids=str)
def test_changed_recordings_are_refused_or_mean_something_else(recorded: Recorded) -> None:
    for changed in mutations(recorded.payload, len(recorded.payload)):
        _decode_or_refuse(changed)


# What is refused.


def wire(type: object = 3, data: object = None, **envelope: object) -> bytes:
    return json.dumps({"type": type, "data": data, "uid": "u", "nsp": "/", **envelope}).encode()


GOOD: dict[int, dict[str, Any]] = {
    3: {"packet": {"type": 2, "data": ["a"]}, "opts": {"rooms": [], "except": [], "flags": {}}},
    4: {"opts": {"rooms": []}, "rooms": ["a"]},
    5: {"opts": {"rooms": []}, "rooms": ["a"]},
    6: {"opts": {"rooms": []}, "close": True},
    7: {"opts": {"rooms": []}, "requestId": "1"},
    8: {"requestId": "1", "sockets": [{"id": "a", "handshake": {}, "rooms": [], "data": {}}]},
    9: {"packet": ["a"]},
    10: {"requestId": "1", "packet": None},
    11: {"requestId": "1", "clientCount": 0},
    12: {"requestId": "1", "packet": None},
    101: {"requestId": "1", "pid": "secret"},
    102: {"requestId": "1", "session": {"sid": "a", "pid": "secret", "rooms": ["b"], "data": {}, "seconds": 1}, "events": [["a"]]},
    103: {
        "session": {"sid": "a", "pid": "secret", "rooms": ["b"], "data": {}, "seconds": 1},
        "past": {"prefix": "p.", "newest": 7, "events": [[3, ["a"]]]},
        "heard": {},
        "gone": {},
    },
    104: {"taken": True},
}


@pytest.mark.parametrize("type", GOOD)
def test_the_good_ones_are_good(type: int) -> None:
    assert type == decode(wire(type, {**GOOD[type], "more": 1}, even_more=[]), LIMITS).TYPE


WRONG: list[tuple[int, str, object]] = [
    (3, "packet", None),
    (3, "packet", {"type": 2, "data": []}),
    (3, "packet", {"type": 2, "data": [None]}),
    (3, "packet", {"type": 2, "data": ["disconnect"]}),
    (3, "packet", {"type": 2, "data": ["a", *[0] * 1025]}),
    (3, "packet", {"type": 2, "data": {}}),
    (3, "packet", {"type": 3, "data": ["a"]}),
    (3, "packet", {"type": True, "data": ["a"]}),
    (3, "packet", {"data": ["a"]}),
    (3, "opts", None),
    (3, "opts", {}),
    (3, "opts", {"rooms": None}),
    (3, "opts", {"rooms": "a"}),
    (3, "opts", {"rooms": [None]}),
    (3, "opts", {"rooms": [1.5]}),
    (3, "opts", {"rooms": [True]}),
    (3, "opts", {"rooms": [], "except": None}),
    (3, "opts", {"rooms": [], "flags": 1}),
    (3, "opts", {"rooms": [], "flags": {"volatile": "yes"}}),
    (3, "opts", {"rooms": [], "flags": {"timeout": -1}}),
    (3, "opts", {"rooms": [], "flags": {"timeout": "1"}}),
    (3, "requestId", 1),
    (3, "requestId", ""),
    (4, "rooms", None),
    (4, "rooms", "a"),
    (4, "opts", None),
    (6, "close", 1),
    (7, "requestId", None),
    (8, "sockets", None),
    (8, "sockets", ["a"]),
    (8, "sockets", [{"id": "a", "handshake": None, "rooms": []}]),
    (8, "sockets", [{"id": 1, "handshake": {}, "rooms": []}]),
    (9, "packet", []),
    (9, "packet", [1]),
    (9, "packet", {}),
    (9, "packet", ["a", *[0] * 1025]),
    (10, "requestId", None),
    (11, "clientCount", None),
    (11, "clientCount", -1),
    (11, "clientCount", True),
    (11, "clientCount", 1.5),
    (11, "clientCount", 2**53),
    (12, "requestId", "x" * 101),
    (101, "pid", None),
    (101, "pid", "x" * 101),
    (101, "offset", "x" * 101),
    (101, "offset", 1),
    (102, "requestId", None),
    (102, "isMoving", 1),
    (102, "session", []),
    (102, "session", {"sid": "a", "pid": "secret", "rooms": ["b"], "data": {}, "seconds": -1}),
    (102, "events", [["a", *[0] * 1025]]),
    (102, "events", [["disconnect"]]),
    (102, "heard", {"a": -1}),
    (102, "heard", {"x" * 101: 1}),
    (102, "gone", {"a": [1, -1]}),
    (102, "gone", {"a": 1}),
    (103, "session", None),
    (103, "past", None),
    (103, "past", {"prefix": "p.", "newest": 7, "events": [["a"]]}),
    (103, "past", {"prefix": "p.", "newest": 7, "events": [[-1, ["a"]]]}),
    (103, "past", {"prefix": "p.", "newest": 7, "events": [[3, []]]}),
    (103, "past", {"prefix": "p.", "newest": -1, "events": []}),
    (103, "heard", None),
    (104, "taken", None),
]


@pytest.mark.parametrize(("type", "field", "value"), WRONG)
def test_a_wrong_field_is_refused(type: int, field: str, value: object) -> None:
    with pytest.raises(BusMessageError) as refusal:
        decode(wire(type, {**GOOD[type], field: value}), LIMITS)
    assert refusal.value.kind == "schema"


@pytest.mark.parametrize("value", [1, None, [], "text", {}, [1, 2, 3], {"type": 3}])
def test_what_is_no_message_is_refused(value: object) -> None:
    with pytest.raises(BusMessageError) as refusal:
        decode(dumps_msgpack(value, LIMITS, MAX_BYTES), LIMITS)
    assert refusal.value.kind == "schema"


@pytest.mark.parametrize(
    "envelope",
    [
        {"uid": None},
        {"uid": ""},
        {"uid": "x" * 101},
        {"uid": 1},
        {"nsp": None},
        {"nsp": "chat"},
        {"nsp": "/" + "x" * 255},
        {"type": None},
        {"type": "3"},
        {"type": 3.5},
        {"type": True},
        {"data": None},
        {"data": []},
    ],
)
def test_a_wrong_envelope_is_refused(envelope: dict[str, object]) -> None:
    with pytest.raises(BusMessageError) as refusal:
        decode(wire(**{"data": GOOD[3], **envelope}), LIMITS)
    assert refusal.value.kind == "schema"


@pytest.mark.parametrize("type", [0, 14, 255, -1])
def test_a_message_of_another_version_is_told_apart(type: int) -> None:
    assert decode(wire(type, {"anything": 1}), LIMITS) == UnknownMessage(uid="u", namespace="/", type=type)


@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_pickles_are_named_and_not_loaded(version: int) -> None:
    with pytest.raises(BusMessageError, match=r"python-socketio before 5\.14") as refusal:
        decode(b"\x80" + bytes([version]) + b"cos\nsystem\n", LIMITS)
    assert refusal.value.kind == "pickle"


@pytest.mark.hostile("B11")
def test_a_large_message_is_refused_before_it_is_looked_at() -> None:
    payload = wire(3, {**GOOD[3], "opts": {"rooms": ["room"] * 1000}})
    assert decode(payload, LIMITS, len(payload)).uid == "u"
    with pytest.raises(BusMessageError, match=f"at most {len(payload) - 1} are accepted") as refusal:
        decode(payload, LIMITS, len(payload) - 1)
    assert refusal.value.kind == "size"


@pytest.mark.hostile("B12")
@pytest.mark.parametrize(
    "payload",
    [
        b'{"a":' * 100_000,
        b"\x91" * 100_000,
        b'{"a":[' + b"[]," * 300_000 + b"[]]}",
        b"\xdd\x00\x04\x93\xe0" + b"\x90" * 300_000,
        b"\x81\x01\x02",  # a number as a key
        b"\xd4\x05\x00",  # an extension nobody knows
        b"\xd7\xff" + b"\xff" * 8,  # a timestamp with too many nanoseconds
        b"\xc7\x0c\xff" + b"\x00" * 4 + b"\x7f" + b"\xff" * 7,  # one beyond the year 9999
        b"\xd6\xff\x00",
        b"\xa1\xff",  # no UTF-8
        b'{"a":NaN}',
        b'{"a":1e999}',
        b"{",
        b"",
        b'{"a":1}x',
        b"\xc0\xc0",
    ],
    ids=range(16),
)
def test_what_cannot_be_decoded_is_refused(payload: bytes) -> None:
    start = time.process_time()
    with pytest.raises(BusMessageError) as refusal:
        decode(payload, LIMITS)
    assert refusal.value.kind == "format"
    assert time.process_time() - start < 1


def nested(levels: int, value: object) -> object:
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("value", [b"bytes", "text"])
def test_the_limits_hold_in_both_directions(value: object) -> None:
    limits = Limits(json_depth=20, containers=50)
    deep, many = nested(17, value), [[value] for _ in range(40)]
    for good in (deep, many):
        assert decode(encode(event("a", good), limits), limits) == event("a", good)
    for bad in (nested(40, value), [[value] for _ in range(60)]):
        payload = encode(event("a", bad), LIMITS)
        with pytest.raises(BusMessageError, match=r"nested more than|more than 5\d"):
            decode(payload, limits)
        with pytest.raises(EncodeError, match="The other servers would not accept this"):
            encode(event("a", bad), limits)


def test_what_others_would_find_too_large_is_not_sent() -> None:
    size = len(encode(event("a", "é"), LIMITS))
    assert encode(event("a", "é"), LIMITS, size)
    with pytest.raises(EncodeError, match="send it in parts"):
        encode(event("a", "é"), LIMITS, size - 1)


@pytest.mark.parametrize("value", [object(), {1: 2}, {1, 2}, datetime.datetime(2026, 1, 1)])
def test_what_cannot_be_sent_is_refused_where_it_was_given(value: object) -> None:
    with pytest.raises(EncodeError):
        encode(event("a", value), LIMITS)


def test_nan_is_null_without_bytes_and_itself_with_them() -> None:
    assert decode(encode(event("a", math.nan), LIMITS), LIMITS) == event("a", None)
    read = decode(encode(event("a", b"", math.nan), LIMITS), LIMITS)
    assert isinstance(read, Broadcast)
    assert math.isnan(read.event[2])


def test_an_infinite_time_out_is_none() -> None:
    to = options(timeout=math.inf)
    assert decode(encode(event("a", to=to), LIMITS), LIMITS) == event("a")
    payload = dumps_msgpack(
        {"type": 3, "uid": "u", "nsp": "/", "data": {**GOOD[3], "opts": {"rooms": [], "flags": {"timeout": math.inf}}}}, LIMITS, MAX_BYTES
    )
    assert decode(payload, LIMITS) == event("a", uid="u")


def test_a_packet_that_says_that_it_has_attachments_is_an_event() -> None:
    assert decode(wire(3, {**GOOD[3], "packet": {"type": 5, "data": [7, 1]}}), LIMITS) == event("7", 1, uid="u")
