"""What Node's classic Redis adapter and its emitter publish, and with anything instead."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cluster.recordings import Recorded, load
from tests.cluster.test_messages import (
    BYTES,
    MOMENT,
    VALUES,
    event_names,
    events,
    mutations,
    names,
    options,
    rooms,
    sockets,
    some_options,
    values,
)
from trio_sio.cluster.fields import EVERYBODY, Options
from trio_sio.cluster.payload import MAX_BYTES, dumps_msgpack
from trio_sio.cluster.redis.channels import namespace_of
from trio_sio.cluster.redis.codec import (
    decode_broadcast,
    decode_request,
    decode_response,
    encode_broadcast,
    encode_request,
    encode_response,
)
from trio_sio.cluster.redis.requests import (
    AllRooms,
    Broadcast,
    BroadcastAck,
    BroadcastClientCount,
    BroadcastRequest,
    Disconnect,
    Done,
    Fetch,
    Join,
    Leave,
    Request,
    Response,
    RoomsResponse,
    ServerSideEmit,
    ServerSideEmitResponse,
    SocketIds,
    SocketsResponse,
    UnknownRequest,
    UnknownResponse,
)
from trio_sio.errors import BusMessageError, EncodeError
from trio_sio.limits import Limits

LIMITS = Limits()
CLASSIC, SPECIFIC, EMITTED = load("classic"), load("classic_specific"), load("emitter")
A = CLASSIC.uids["A"]["/"]
CHAT = CLASSIC.uids["A"]["/chat"]


def event(*data: object, to: Options = EVERYBODY, uid: str = A, namespace: str = "/") -> Broadcast:
    return Broadcast(uid=uid, namespace=namespace, event=data, options=to)


# Broadcasts.

BROADCASTS: dict[str, Broadcast] = {
    "broadcast": event("hello", "é", 1),
    "broadcast of values": event("values", *VALUES),
    "broadcast of undefined": event("undefined", None, {"b": 1}),
    "broadcast of a date": event("date", MOMENT),
    "broadcast of half a surrogate pair": event("half", "\U00010000"),  # what notepack.io makes of it
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
}


@pytest.mark.parametrize("called", BROADCASTS)
def test_what_node_broadcasts_means_what_was_called(called: str) -> None:
    expected = BROADCASTS[called]
    assert decode_broadcast(CLASSIC.of(called), LIMITS) == expected
    emitted = decode_broadcast(EMITTED.of(called, "emitter"), LIMITS)
    assert emitted == Broadcast(uid="emitter", namespace=expected.namespace, event=expected.event, options=expected.options)


@pytest.mark.parametrize("key", ["legacy broadcast without except"])
def test_what_older_servers_broadcast_is_understood(key: str) -> None:
    """It has no namespace, and no ``except``."""
    assert decode_broadcast(CLASSIC.of(key, "old"), LIMITS) == event("hello", uid="older")


# Requests and their answers.

ASKED: dict[str, Callable[[str], Request]] = {
    "sockets join": lambda uid: Join(uid=uid, options=options("a"), rooms=frozenset("cd")),
    "sockets join with except": lambda uid: Join(uid=uid, options=options("a", excluded=["b"]), rooms=frozenset("c")),
    "sockets leave": lambda uid: Leave(uid=uid, options=options("a"), rooms=frozenset("c")),
    "disconnect sockets": lambda uid: Disconnect(uid=uid, options=options("nobody")),
    "disconnect sockets and close": lambda uid: Disconnect(uid=uid, options=options("nobody"), close=True),
    "server-side emit": lambda uid: ServerSideEmit(uid=uid, event=("server", "é", {"a": [1, None]})),
}


@pytest.mark.parametrize("recording", [CLASSIC, SPECIFIC], ids=["general", "specific"])
@pytest.mark.parametrize("called", ASKED)
def test_what_node_asks_for_means_what_was_called(called: str, recording: Any) -> None:
    assert decode_request(recording.of(called), LIMITS) == ASKED[called](recording.uids["A"]["/"])


EMITTED_REQUESTS: dict[str, Request] = {
    "sockets join": Join(options=options("a"), rooms=frozenset("cd")),
    "sockets join one": Join(options=EVERYBODY, rooms=frozenset("c")),
    "sockets leave": Leave(options=options("a", excluded=["b"]), rooms=frozenset("c")),
    "disconnect sockets": Disconnect(options=options("nobody")),
    "disconnect sockets and close": Disconnect(options=EVERYBODY, close=True),
    "server-side emit": ServerSideEmit(uid="emitter", event=("server", "é", {"a": [1, None]})),
    "server-side emit in a namespace": ServerSideEmit(uid="emitter", event=("server",)),
}


@pytest.mark.parametrize("called", EMITTED_REQUESTS)
def test_what_the_emitter_asks_for_means_what_was_called(called: str) -> None:
    assert decode_request(EMITTED.of(called, "emitter"), LIMITS) == EMITTED_REQUESTS[called]


ANSWERED: dict[str, tuple[Callable[[str, str], Request], Sequence[Callable[[str], Response]]]] = {
    "fetch sockets of nobody": (
        lambda uid, number: Fetch(uid=uid, request_id=number, options=options("nobody")),
        [lambda number: SocketsResponse(request_id=number)],
    ),
    "server-side emit with ack": (
        lambda uid, number: ServerSideEmit(uid=uid, request_id=number, event=("server", 1)),
        [lambda number: ServerSideEmitResponse(request_id=number, value={"from": "B", "args": 1})],
    ),
    "server-side emit with ack of nothing": (
        lambda uid, number: ServerSideEmit(uid=uid, request_id=number, event=("server nothing",)),
        [lambda number: ServerSideEmitResponse(request_id=number)],
    ),
    "broadcast with ack": (
        lambda uid, number: BroadcastRequest(
            uid=uid, request_id=number, namespace="/", event=("question", {"a": 1}), options=options(timeout=1)
        ),
        [lambda number: BroadcastClientCount(request_id=number, count=1), lambda number: BroadcastAck(request_id=number, value={"a": 1})],
    ),
    "broadcast with ack of bytes": (
        lambda uid, number: BroadcastRequest(
            uid=uid, request_id=number, namespace="/", event=("question", BYTES), options=options(timeout=1)
        ),
        [lambda number: BroadcastClientCount(request_id=number, count=1), lambda number: BroadcastAck(request_id=number, value=BYTES)],
    ),
    "broadcast with ack of nothing": (
        lambda uid, number: BroadcastRequest(
            uid=uid, request_id=number, namespace="/", event=("question nothing",), options=options(timeout=1)
        ),
        [lambda number: BroadcastClientCount(request_id=number, count=1), lambda number: BroadcastAck(request_id=number)],
    ),
    "broadcast with ack to a room": (
        lambda uid, number: BroadcastRequest(
            uid=uid, request_id=number, namespace="/", event=("question", 1), options=options("a", excluded=["c"], volatile=True, timeout=1)
        ),
        [lambda number: BroadcastClientCount(request_id=number, count=1), lambda number: BroadcastAck(request_id=number, value=1)],
    ),
    "broadcast with ack to nobody": (
        lambda uid, number: BroadcastRequest(
            uid=uid, request_id=number, namespace="/", event=("question", 1), options=options("nobody", timeout=1)
        ),
        [lambda number: BroadcastClientCount(request_id=number, count=0)],
    ),
}


@pytest.mark.parametrize("recording", [CLASSIC, SPECIFIC], ids=["general", "specific"])
@pytest.mark.parametrize("called", ANSWERED)
def test_questions_are_answered(called: str, recording: Any) -> None:
    question, answers = ANSWERED[called]
    asked = decode_request(recording.of(called), LIMITS)
    assert asked.request_id
    assert asked == question(recording.uids["A"]["/"], asked.request_id)
    assert [decode_response(one, LIMITS) for one in recording.all_of(called, "B")] == [answer(asked.request_id) for answer in answers]


def test_sockets_are_fetched() -> None:
    asked, answer = decode_request(CLASSIC.of("fetch sockets"), LIMITS), decode_response(CLASSIC.of("fetch sockets", "B"), LIMITS)
    assert isinstance(answer, SocketsResponse)
    assert answer.request_id == asked.request_id
    (socket,) = answer.sockets
    assert (socket.id, socket.data) == (CLASSIC.sid, {"name": "é", "count": 3})
    assert {CLASSIC.sid, "a", "b"} <= socket.rooms
    assert socket.handshake["query"]["EIO"] == "4"


def test_rooms_are_asked_for() -> None:
    asked, answer = decode_request(CLASSIC.of("all rooms"), LIMITS), decode_response(CLASSIC.of("all rooms", "B"), LIMITS)
    assert asked == AllRooms(uid=A, request_id=asked.request_id)
    assert answer == RoomsResponse(request_id=str(asked.request_id), rooms=frozenset({CLASSIC.sid, "a", "b", "d"}))


def test_a_specific_channel_names_who_asked() -> None:
    uid = SPECIFIC.uids["A"]["/"]
    channels = {one.channel for one in SPECIFIC.messages if one.sender == "B" and "server-side" not in one.called}
    assert channels == {f"other-response#/#{uid}#"}
    assert {one.channel for one in SPECIFIC.messages if one.sender == "B" and "server-side" in one.called} == {"other-response#/#"}


OLD: dict[str, tuple[Request, Response | None]] = {
    "legacy sockets": (
        SocketIds(request_id="legacy0", rooms=frozenset("a")),
        SocketsResponse(request_id="legacy0", ids=(CLASSIC.sid,)),
    ),
    "legacy sockets with uid": (
        SocketIds(uid="older", request_id="legacy1"),
        SocketsResponse(request_id="legacy1", ids=(CLASSIC.sid,)),
    ),
    "legacy all rooms": (
        AllRooms(request_id="legacy2"),
        RoomsResponse(request_id="legacy2", rooms=frozenset({CLASSIC.sid, "a", "b", "d"})),
    ),
    "legacy join": (
        Join(request_id="legacy3", sid=CLASSIC.sid, options=options(CLASSIC.sid), rooms=frozenset("c")),
        Done(request_id="legacy3"),
    ),
    "legacy leave": (
        Leave(request_id="legacy4", sid=CLASSIC.sid, options=options(CLASSIC.sid), rooms=frozenset("c")),
        Done(request_id="legacy4"),
    ),
    "legacy join of an unknown socket": (
        Join(request_id="legacy5", sid="nobody", options=options("nobody"), rooms=frozenset("c")),
        None,
    ),
}


@pytest.mark.parametrize("called", OLD)
def test_what_older_servers_ask_for_is_understood(called: str) -> None:
    question, answer = OLD[called]
    assert decode_request(CLASSIC.of(called, "old"), LIMITS) == question
    answers = [decode_response(one, LIMITS) for one in CLASSIC.all_of(called, "B")]
    assert answers == ([] if answer is None else [answer])


def test_an_older_request_to_disconnect_is_understood() -> None:
    asked = decode_request(CLASSIC.of("legacy disconnect", "old"), LIMITS)
    assert isinstance(asked, Disconnect)
    assert asked.sid
    assert asked == Disconnect(request_id="legacy6", sid=asked.sid, options=options(asked.sid))
    assert decode_response(CLASSIC.of("legacy disconnect", "B"), LIMITS) == Done(request_id="legacy6")


def test_every_call_is_in_one_of_these_tables() -> None:
    alone = {"fetch sockets", "all rooms", "legacy disconnect", "legacy broadcast without except", "broadcast of bytes and a date"}
    assert {one.called for one in CLASSIC.messages} == set(BROADCASTS) | set(ASKED) | set(ANSWERED) | set(OLD) | alone
    assert {one.called for one in EMITTED.messages} <= set(BROADCASTS) | set(EMITTED_REQUESTS) | alone


# Written as Node does.

DECODE: dict[str, Callable[[bytes, Limits], Any]] = {
    "broadcast": decode_broadcast,
    "request": decode_request,
    "response": decode_response,
}
ENCODE: dict[str, Callable[[Any, Limits], bytes]] = {
    "broadcast": encode_broadcast,
    "request": encode_request,
    "response": encode_response,
}
ALL = [
    *((one, "socket.io") for one in CLASSIC.messages),
    *((one, "other") for one in SPECIFIC.messages),
    *((one, "socket.io") for one in EMITTED.messages),
]

# Of these one writes something else that means the same: rooms in another order, moments in notepack.io's older form, numbers of
# rooms as their names, null for nothing, and what is left out.
OTHERWISE = {
    "broadcast of a date",
    "broadcast of bytes and a date",
    "broadcast to a room that is a number",
    "fetch sockets",
    "all rooms",
    "server-side emit with ack of nothing",
    "broadcast with ack of nothing",
    "legacy all rooms",
    "legacy broadcast without except",
}


@pytest.mark.parametrize(("recorded", "key"), ALL, ids=str)
def test_what_node_publishes_is_written_as_node_does(recorded: Recorded, key: str) -> None:
    found = namespace_of(key, recorded.channel)
    assert found is not None
    message = DECODE[found[0]](recorded.payload, LIMITS)
    written = ENCODE[found[0]](message, LIMITS)
    if recorded.sender == "emitter" and found[0] == "broadcast":
        # The emitter has the options in another order.
        assert len(written) == len(recorded.payload) or recorded.called in OTHERWISE
    else:
        assert written == recorded.payload or recorded.called in OTHERWISE
    assert DECODE[found[0]](written, LIMITS) == message


uids = st.none() | names
namespaces = st.text(max_size=10).map(lambda name: f"/{name}")
broadcasts = st.builds(Broadcast, uid=names, namespace=namespaces, event=events, options=some_options)
plain_options = st.builds(Options, rooms=rooms, excluded=rooms)
requests = st.one_of(
    st.builds(SocketIds, uid=uids, request_id=names, rooms=rooms),
    st.builds(AllRooms, uid=uids, request_id=names),
    st.builds(Join, uid=uids, request_id=uids, options=plain_options, rooms=rooms),
    st.builds(Leave, uid=uids, request_id=uids, options=plain_options, rooms=rooms),
    st.builds(lambda sid, room: Join(request_id="1", sid=sid, options=options(sid), rooms=frozenset((room,))), names, st.text()),
    st.builds(Disconnect, uid=uids, request_id=uids, options=plain_options, close=st.booleans()),
    st.builds(lambda sid, close: Disconnect(request_id="1", sid=sid, options=options(sid), close=close), names, st.booleans()),
    st.builds(Fetch, uid=uids, request_id=names, options=plain_options),
    st.builds(ServerSideEmit, uid=uids, request_id=uids, event=events),
    st.builds(BroadcastRequest, uid=uids, request_id=names, namespace=namespaces, event=events, options=some_options),
)
responses = st.one_of(
    st.builds(Done, request_id=names),
    st.builds(SocketsResponse, request_id=names, sockets=st.lists(sockets, max_size=3).map(tuple)),
    st.builds(SocketsResponse, request_id=names, ids=st.lists(names, max_size=3).map(tuple)),
    st.builds(RoomsResponse, request_id=names, rooms=rooms),
    st.builds(ServerSideEmitResponse, request_id=names, value=values),
    st.builds(BroadcastClientCount, request_id=names, count=st.integers(0, 2**53 - 1)),
    st.builds(BroadcastAck, request_id=names, value=values),
)


@given(broadcasts)
def test_a_broadcast_is_read_again(broadcast: Broadcast) -> None:
    assert decode_broadcast(encode_broadcast(broadcast, LIMITS), LIMITS) == broadcast


@given(requests)
def test_a_request_is_read_again(request: Request) -> None:
    assert decode_request(encode_request(request, LIMITS), LIMITS) == request


@given(responses)
def test_a_response_is_read_again(response: Response) -> None:
    assert decode_response(encode_response(response, LIMITS), LIMITS) == response


# What is refused.


def _decode_or_refuse(kind: str, payload: bytes) -> None:
    start, refusal = time.process_time(), None
    try:
        DECODE[kind](payload, LIMITS)
    except BusMessageError as exc:
        refusal = exc
    assert time.process_time() - start < 1
    if refusal is not None:
        assert str(refusal).endswith(".")
        assert len(str(refusal)) < 300


@given(st.sampled_from(sorted(DECODE)), st.binary(max_size=200))
def test_random_bytes_are_refused(kind: str, payload: bytes) -> None:
    _decode_or_refuse(kind, payload)


@pytest.mark.parametrize(("recorded", "key"), ALL, ids=str)
def test_changed_recordings_are_refused_or_mean_something_else(recorded: Recorded, key: str) -> None:
    generator = random.Random(len(recorded.payload))
    for changed in mutations(recorded.payload, len(recorded.payload)):
        _decode_or_refuse(generator.choice(sorted(DECODE)), changed)
        found = namespace_of(key, recorded.channel)
        assert found is not None
        _decode_or_refuse(found[0], changed)


PACKET: dict[str, object] = {"type": 2, "data": ["a"], "nsp": "/"}
OPTS: dict[str, object] = {"rooms": [], "except": [], "flags": {}}


@pytest.mark.parametrize(
    "wire",
    [
        1,
        None,
        {},
        [],
        "text",
        ["u"],
        ["u", PACKET],
        ["u", None, OPTS],
        ["u", PACKET, None],
        [None, PACKET, OPTS],
        [1, PACKET, OPTS],
        ["u", {**PACKET, "nsp": "chat"}, OPTS],
        ["u", {**PACKET, "nsp": 1}, OPTS],
        ["u", {**PACKET, "nsp": "/" + "x" * 255}, OPTS],
        ["u", {**PACKET, "type": 0}, OPTS],
        ["u", {**PACKET, "data": []}, OPTS],
        ["u", {**PACKET, "data": ["connect"]}, OPTS],
        ["u", PACKET, {"except": []}],
        ["u", PACKET, {**OPTS, "rooms": None}],
        ["u", PACKET, {**OPTS, "except": None}],
        ["u", PACKET, {**OPTS, "rooms": [None]}],
        ["u", PACKET, {**OPTS, "rooms": "room"}],
        ["u", PACKET, {**OPTS, "flags": "volatile"}],
    ],
)
def test_what_is_no_broadcast_is_refused(wire: object) -> None:
    with pytest.raises(BusMessageError) as refusal:
        decode_broadcast(dumps_msgpack(wire, LIMITS, MAX_BYTES), LIMITS)
    assert refusal.value.kind == "schema"


def test_more_than_is_known_of_a_broadcast_is_ignored() -> None:
    wire = ["u", {**PACKET, "more": 1}, {**OPTS, "flags": {"broadcast": True, "more": 1}, "more": 1}, "more"]
    assert decode_broadcast(dumps_msgpack(wire, LIMITS, MAX_BYTES), LIMITS) == event("a", uid="u")


def test_without_a_namespace_the_main_one_is_meant() -> None:
    packet = {"type": 2, "data": ["a"]}
    assert decode_broadcast(dumps_msgpack(["u", packet, OPTS], LIMITS, MAX_BYTES), LIMITS).namespace == "/"


@pytest.mark.parametrize(
    "wire",
    [
        {},
        {"type": None},
        {"type": "2"},
        {"type": True},
        {"type": 0},
        {"type": 0, "requestId": "1", "rooms": None},
        {"type": 1},
        {"type": 1, "requestId": 1},
        {"type": 2},
        {"type": 2, "opts": OPTS},
        {"type": 2, "rooms": ["a"]},
        {"type": 2, "opts": None, "rooms": ["a"]},
        {"type": 2, "opts": {"rooms": None}, "rooms": ["a"]},
        {"type": 2, "sid": "s", "room": "a"},
        {"type": 2, "sid": "s", "requestId": "1"},
        {"type": 3, "opts": OPTS, "rooms": [[]]},
        {"type": 4},
        {"type": 4, "opts": OPTS, "close": "yes"},
        {"type": 4, "sid": "s"},
        {"type": 5, "requestId": "1"},
        {"type": 5, "opts": OPTS},
        {"type": 6},
        {"type": 6, "data": []},
        {"type": 6, "data": [1]},
        {"type": 6, "data": "event"},
        {"type": 6, "data": ["a"], "uid": 1},
        {"type": 7, "requestId": "1", "packet": PACKET},
        {"type": 7, "packet": PACKET, "opts": OPTS},
        {"type": 7, "requestId": "1", "packet": {**PACKET, "nsp": ""}, "opts": OPTS},
    ],
)
def test_what_is_no_request_is_refused(wire: dict[str, object]) -> None:
    for payload in (json.dumps(wire).encode(), dumps_msgpack(wire, LIMITS, MAX_BYTES)):
        with pytest.raises(BusMessageError) as refusal:
            decode_request(payload, LIMITS)
        assert refusal.value.kind == "schema"


@pytest.mark.parametrize("type", [-1, 8, 9, 10, 99])
def test_a_request_of_another_version_is_told_apart(type: int) -> None:
    assert decode_request(json.dumps({"type": type, "uid": "u"}).encode(), LIMITS) == UnknownRequest(uid="u", type=type)


@pytest.mark.parametrize(
    "wire",
    [
        {},
        {"requestId": None},
        {"requestId": 1},
        {"requestId": ""},
        {"requestId": "1", "sockets": 1},
        {"requestId": "1", "sockets": [1]},
        {"requestId": "1", "sockets": ["a", {"id": "a", "handshake": {}, "rooms": []}]},
        {"requestId": "1", "sockets": [{"id": "a", "rooms": []}]},
        {"requestId": "1", "rooms": "a"},
        {"requestId": "1", "type": 8},
        {"requestId": "1", "type": 8, "clientCount": -1},
        {"requestId": "1", "type": 8, "clientCount": "1"},
        {"requestId": "1", "type": "8"},
    ],
)
def test_what_is_no_response_is_refused(wire: dict[str, object]) -> None:
    with pytest.raises(BusMessageError) as refusal:
        decode_response(json.dumps(wire).encode(), LIMITS)
    assert refusal.value.kind == "schema"


@pytest.mark.parametrize("type", [0, 7, 10])
def test_a_response_of_another_version_is_told_apart(type: int) -> None:
    assert decode_response(json.dumps({"type": type, "requestId": "1"}).encode(), LIMITS) == UnknownResponse(request_id="1", type=type)


def test_bytes_go_where_node_would_make_something_else_of_them() -> None:
    """Node itself writes JSON there, in which a buffer becomes an object; it reads both."""
    emitted = ServerSideEmit(uid="u", event=("a", BYTES))
    assert encode_request(emitted, LIMITS)[0] != ord("{")
    assert decode_request(encode_request(emitted, LIMITS), LIMITS) == emitted


@pytest.mark.parametrize(
    "encode",
    [
        lambda size: encode_broadcast(event("a", "x" * 100), LIMITS, size),
        lambda size: encode_request(ServerSideEmit(event=("a", "x" * 100)), LIMITS, size),
        lambda size: encode_response(BroadcastAck(request_id="1", value="x" * 100), LIMITS, size),
    ],
)
def test_what_others_would_find_too_large_is_not_sent(encode: Callable[[int], bytes]) -> None:
    size = len(encode(1000))
    assert len(encode(size)) == size
    with pytest.raises(EncodeError, match="send it in parts"):
        encode(size - 1)


@given(event_names)
def test_the_names_of_events_survive(name: str) -> None:
    assert decode_broadcast(encode_broadcast(event(name), LIMITS), LIMITS).event == (name,)
