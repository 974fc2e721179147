from __future__ import annotations

import datetime
import logging
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple

from tests.level import unchanged
from trio_sio import Config, ConnectionRefused, Context, Limits, Next, Route, RoutingTable, Socket, on_message
from trio_sio.errors import DecodeError, EncodeError
from trio_sio.protocol.checks import RESERVED_EVENTS
from trio_sio.protocol.frames import EncodedPacket
from trio_sio.protocol.msgpack import (
    Decoder,
    encode_ack,
    encode_connect,
    encode_connect_error,
    encode_disconnect,
    encode_event,
)
from trio_sio.protocol.socketio import Packet, PacketType
from trio_sio.testing import RawWebSocket, WebSocketClosed, open_test_server

CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR = PacketType(0), PacketType(1), PacketType(2), PacketType(3), PacketType(4)

UNDEFINED = msgspec.msgpack.Ext(0, b"\0")


def decode(message: bytes | Mapping[str, object], *, limits: Limits | None = None, max_bytes: int = 1_000_000) -> Packet:
    packet = Decoder(limits or Limits(), max_bytes).binary(message if isinstance(message, bytes) else msgspec.msgpack.encode(message))
    assert packet is not None
    return packet


def refuse(message: bytes | Mapping[str, object], *, limits: Limits | None = None, max_bytes: int = 1_000_000) -> str:
    with pytest.raises(DecodeError) as refusal:
        decode(message, limits=limits, max_bytes=max_bytes)
    assert len(str(refusal.value)) < 300
    return str(refusal.value)


def event(*data: object, **fields: object) -> dict[str, object]:
    return {"type": 2, "data": data, "nsp": "/", **fields}


# The wire.


@pytest.mark.parametrize(
    ("message", "packet"),
    [
        # As the official client sends them.
        ({"type": 0, "data": UNDEFINED, "nsp": "/"}, (CONNECT, "/", {}, None)),
        ({"type": 0, "nsp": "/"}, (CONNECT, "/", {}, None)),
        ({"type": 0, "data": {"token": "abc"}, "nsp": "/custom"}, (CONNECT, "/custom", {"token": "abc"}, None)),
        ({"type": 1, "nsp": "/custom"}, (DISCONNECT, "/custom", None, None)),
        (
            {"type": 2, "data": ["message", 1, "2", {"3": [True]}, b"4"], "options": {"compress": True}, "nsp": "/"},
            (EVENT, "/", ["message", 1, "2", {"3": [True]}, b"4"], None),
        ),
        ({"type": 2, "data": ["x"], "options": {"compress": True}, "id": 0, "nsp": "/admin"}, (EVENT, "/admin", ["x"], 0)),
        ({"type": 3, "id": 456, "data": [b"x", UNDEFINED], "nsp": "/"}, (ACK, "/", [b"x", None], 456)),
        (
            {"type": 4, "data": {"message": "no", "data": UNDEFINED}, "nsp": "/"},
            (CONNECT_ERROR, "/", {"message": "no", "data": None}, None),
        ),
        ({"type": 4, "data": "old", "nsp": "/"}, (CONNECT_ERROR, "/", "old", None)),
        # As python-socketio sends them.
        ({"type": 0, "data": None, "nsp": "/"}, (CONNECT, "/", {}, None)),
        ({"type": 1, "data": None, "nsp": "/"}, (DISCONNECT, "/", None, None)),
        ({"type": 2, "data": ["x"], "nsp": "/", "id": 1}, (EVENT, "/", ["x"], 1)),
    ],
)
def test_decode(message: dict[str, object], packet: tuple[object, ...]) -> None:
    assert astuple(decode(message))[:4] == packet


@pytest.mark.parametrize(
    ("encoded", "fields"),
    [
        (encode_event("/", ["auth", {}]), {"type": 2, "data": ["auth", {}], "nsp": "/"}),
        (encode_event("/chat", ("é", b"x"), 0), {"type": 2, "data": ["é", b"x"], "id": 0, "nsp": "/chat"}),
        (encode_ack("/", 456, [1, {"3": [False]}]), {"type": 3, "data": [1, {"3": [False]}], "id": 456, "nsp": "/"}),
        (encode_ack("/", 0, ()), {"type": 3, "data": [], "id": 0, "nsp": "/"}),
        (encode_connect("/", {"sid": "abc"}), {"type": 0, "data": {"sid": "abc"}, "nsp": "/"}),
        (encode_connect("/", {"key": b"abc"}), {"type": 0, "data": {"key": b"abc"}, "nsp": "/"}),
        (encode_connect("/", None), {"type": 0, "nsp": "/"}),
        (encode_connect_error("/random", "Invalid namespace"), {"type": 4, "data": {"message": "Invalid namespace"}, "nsp": "/random"}),
        (encode_connect_error("/", "no", 0), {"type": 4, "data": {"message": "no", "data": 0}, "nsp": "/"}),
        (encode_disconnect("/chat"), {"type": 1, "nsp": "/chat"}),
    ],
    ids=repr,
)
def test_encode(encoded: EncodedPacket, fields: dict[str, object]) -> None:
    assert encoded.text is None
    (message,) = encoded.attachments
    assert message == msgspec.msgpack.encode(fields)


def test_the_smallest_packets_byte_for_byte() -> None:
    assert encode_disconnect("/").attachments[0].hex() == "82a47479706501a36e7370a12f"
    assert encode_event("/", ["a"]).attachments[0].hex() == "83a47479706502a46461746191a161a36e7370a12f"
    assert astuple(decode(bytes.fromhex("82a47479706500a36e7370a12f")))[:5] == (CONNECT, "/", {}, None, 18)


def test_only_events_that_want_no_ack_may_be_dropped() -> None:
    assert encode_event("/", ["x", b"y"]).droppable
    for packet in (encode_event("/", ["x"], 0), encode_ack("/", 1, []), encode_connect("/", {"sid": "a"}), encode_disconnect("/")):
        assert not packet.droppable


@pytest.mark.parametrize("name", sorted(RESERVED_EVENTS))
def test_reserved_names_are_not_emitted(name: str) -> None:
    with pytest.raises(EncodeError, match="reserved"):
        encode_event("/", [name, 1])


@pytest.mark.parametrize("name", [None, 5, b"x", ["x"], True])
def test_only_strings_are_names(name: object) -> None:
    with pytest.raises(EncodeError, match="must be a string"):
        encode_event("/", [name])


def test_what_cannot_be_encoded_is_refused() -> None:
    with pytest.raises(EncodeError, match="A set cannot be sent"):
        encode_event("/", ["x", {1}])
    with pytest.raises(EncodeError, match="A set cannot be sent"):
        encode_ack("/", 1, [{1}])
    with pytest.raises(EncodeError, match="A set cannot be sent"):
        encode_connect_error("/", "no", {1})


# Malformed packets: the rows of the JSON decoder that have a meaning here.


@pytest.mark.hostile("S01", "S02")
@pytest.mark.parametrize("number", [-1, 5, 6, 7, 9, 2**64 - 1, 1.0, "2", True, None, [], b"2"])
def test_unknown_types_are_refused(number: object) -> None:
    assert "an integer from 0 to 4" in refuse({**event("x"), "type": number})
    assert "an integer from 0 to 4" in refuse({"data": ["x"], "nsp": "/"})


@pytest.mark.parametrize(
    "message", [b"", b"\x80", b"\x90", b"\xc0", b"\x02", b"\xa12", b'2["x"]', b"\x93\x02\x91\xa1x\xa1/", b"\xd4\x00\x00"]
)
def test_a_packet_is_a_map(message: bytes) -> None:
    refuse(message)


@pytest.mark.hostile("S10", "S16", "S18", "S19", "S41")
@pytest.mark.parametrize(
    ("number", "values"),
    [
        (0, [[], "x", 0, False, b"{}", 1.5]),
        (1, [{}, [], "x", 0, False]),
        (2, [UNDEFINED, None, {}, "a", 5, [], [None], [{}], [[]], [True], [1.5], [5.0], [b"a"], [UNDEFINED]]),
        (3, [{}, "x", 0, False, b"[]"]),
        (4, [UNDEFINED, None, [], 0]),
    ],
)
def test_data_that_has_no_place_is_refused(number: int, values: list[object]) -> None:
    for data in values:
        for namespace in ("/", "/chat"):
            refuse({"type": number, "data": data, "nsp": namespace})
            refuse({"type": number, "data": data, "nsp": namespace, "id": 1})


@pytest.mark.parametrize("data", [2**63, datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)])
def test_a_name_is_no_other_value(data: object) -> None:
    if isinstance(data, int):
        assert decode(event(data)).data == [str(data)]
    else:
        # msgspec's own form of a time, which no client of this dialect sends.
        refuse(event(data))


@pytest.mark.parametrize("namespace", ["", "chat", "?", None, 0, b"/", [], {}, True])
def test_a_namespace_is_a_path(namespace: object) -> None:
    assert "begins with a slash" in refuse({**event("x"), "nsp": namespace})
    assert "begins with a slash" in refuse({"type": 0})


@pytest.mark.hostile("S20")
def test_numeric_names_become_strings() -> None:
    assert decode(event(5, 1)).data == ["5", 1]
    assert decode(event(-5)).data == ["-5"]


@pytest.mark.hostile("S21", "S25", "S26")
@pytest.mark.parametrize("name", ["", "error", "connection", "message", "ping", "__proto__", "toString", "__class__", "on_disconnect"])
def test_other_names_are_ordinary(name: str) -> None:
    assert decode(event(name, 1)).data == [name, 1]


@pytest.mark.hostile("S24")
@pytest.mark.parametrize("name", sorted(RESERVED_EVENTS))
def test_reserved_names_are_refused(name: str) -> None:
    assert "reserved" in refuse(event(name))
    assert "reserved" in refuse(event(name, b"x", id=1, nsp="/chat"))


@pytest.mark.hostile("S11")
def test_the_ack_id_of_a_connect_is_ignored() -> None:
    assert astuple(decode({"type": 0, "nsp": "/", "id": 5}))[:5] == (CONNECT, "/", {}, None, 23)


@pytest.mark.hostile("S35", "S36", "S37")
@pytest.mark.parametrize("number", [0, 2, 3])
def test_ack_ids_are_exact(number: int) -> None:
    def packet(ack_id: object) -> dict[str, object]:
        return {"type": number, "data": {} if number == 0 else ["x"], "id": ack_id, "nsp": "/"}

    if number:
        assert [decode(packet(ack_id)).id for ack_id in (0, 7, 2**53 - 1, None, UNDEFINED)] == [0, 7, 2**53 - 1, None, None]
    others: list[object] = [2**53, 2**64 - 1, -1, 1.0, 1.5, "1", True, False, b"1", [], {}]
    for ack_id in others:
        assert "from 0 to 2**53 - 1" in refuse(packet(ack_id))


@pytest.mark.hostile("S40")
@pytest.mark.parametrize("fields", [{}, {"data": None}, {"data": UNDEFINED}])
def test_an_ack_without_data_has_no_arguments(fields: dict[str, object]) -> None:
    assert astuple(decode({"type": 3, "nsp": "/", "id": 1, **fields}))[:4] == (ACK, "/", [], 1)


@pytest.mark.hostile("S53", "S58")
def test_placeholders_are_data() -> None:
    assert decode(event("x", {"_placeholder": True, "num": 7})).data == ["x", {"_placeholder": True, "num": 7}]


@pytest.mark.parametrize("text", [b"", b"0", b"2", b'2["x"]', b"40"])
def test_text_is_refused(text: bytes) -> None:
    decoder = Decoder(Limits(), 1000)
    with pytest.raises(DecodeError, match=r"Config\.parser"):
        decoder.text(text)
    assert decoder.pending is None


# Limits: n passes, n + 1 does not.


@pytest.mark.hostile("S09")
@pytest.mark.parametrize("namespace", ["/a", "/a?x=1", "/a,b", "/a\nb", "/é", "/ ", "/" + "x" * 254, "/" + "é" * 254])
def test_namespaces_are_taken_literally(namespace: str) -> None:
    assert decode({"type": 0, "nsp": namespace}).namespace == namespace
    assert decode(event("x", nsp=namespace)).namespace == namespace


@pytest.mark.hostile("S09")
def test_namespaces_have_a_length() -> None:
    assert "256 characters" in refuse({"type": 0, "nsp": "/" + "x" * 255})
    assert decode({"type": 0, "nsp": "/ab"}, limits=Limits(namespace_length=3)).namespace == "/ab"
    assert "4 characters" in refuse({"type": 0, "nsp": "/abc"}, limits=Limits(namespace_length=3))


@pytest.mark.hostile("S33")
def test_arguments_are_limited() -> None:
    limits = Limits(arguments=2)
    assert decode(event("x", 1, 1), limits=limits).data == ["x", 1, 1]
    assert "3 arguments" in refuse(event("x", 1, 1, 1), limits=limits)
    assert decode({"type": 3, "data": [1, 2], "nsp": "/", "id": 1}, limits=limits).data == [1, 2]
    assert "3 arguments" in refuse({"type": 3, "data": [1, 2, 3], "nsp": "/", "id": 1}, limits=limits)
    assert "100000 arguments" in refuse(event("x", *[1] * 100_000))


@pytest.mark.hostile("S31")
def test_depth_is_limited_as_in_json() -> None:
    limits = Limits(json_depth=3)
    assert decode(event("x", [[]]), limits=limits).data == ["x", [[]]]
    assert decode({"type": 0, "data": {"a": [[]]}, "nsp": "/"}, limits=limits).data == {"a": [[]]}
    for deeper in (
        event("x", [[[]]]),
        event("x", [{"a": {}}]),
        event("x", options=[[[[]]]]),
        {"type": 0, "data": {"a": [[[]]]}, "nsp": "/"},
    ):
        assert "levels deep" in refuse(deeper, limits=limits)
    core: Any = []
    for _ in range(510):
        core = [core]
    assert decode(event("x", core)).data[1] == core
    refuse(event("x", [core]))


@pytest.mark.hostile("R11")
@pytest.mark.parametrize("item", [[], {}, [1], {"a": 1}], ids=repr)
def test_the_number_of_arrays_and_maps_is_limited_as_in_json(item: object) -> None:
    limits = Limits(containers=10)
    assert decode(event("x", [item] * 8), limits=limits).data == ["x", [item] * 8]
    assert "(Limits.containers)" in refuse(event("x", [item] * 9), limits=limits)


@pytest.mark.hostile("S12")
def test_the_auth_payload_is_limited() -> None:
    limits = Limits(auth_bytes=100)
    packet = {"type": 0, "data": {"a": "x" * 60}, "nsp": "/"}
    size = decode(packet).size
    assert decode(packet, limits=Limits(auth_bytes=size)).data["a"]
    assert f"counts as {size} bytes" in refuse(packet, limits=Limits(auth_bytes=size - 1))
    assert decode(event("x" * 200), limits=limits).data
    assert decode({"type": 0, "data": {"__proto__": {"admin": True}}, "nsp": "/"}).data == {"__proto__": {"admin": True}}


def test_packets_are_limited() -> None:
    message = msgspec.msgpack.encode(event("x", bytes(50)))
    size = decode(message, max_bytes=1000).size
    assert size == len(message) + (4 + 2) + 2  # a map of three members, and an array
    assert decode(message, max_bytes=size).size == size
    assert f"more than {size - 1} bytes" in refuse(message, max_bytes=size - 1)


# Properties.

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)
NAMES = st.text().filter(lambda name: name not in RESERVED_EVENTS)
NAMESPACES = st.just("/") | st.text(max_size=20).map("/{}".format)
IDS = st.integers(0, 2**53 - 1)


@given(NAMESPACES, NAMES, st.lists(VALUES, max_size=5), st.none() | IDS)
def test_events_survive_the_journey(namespace: str, name: str, args: list[object], ack_id: int | None) -> None:
    (message,) = encode_event(namespace, [name, *args], ack_id).attachments
    assert astuple(decode(message))[:4] == (EVENT, namespace, [name, *args], ack_id)


@given(NAMESPACES, st.lists(VALUES, max_size=5), IDS)
def test_acks_survive_the_journey(namespace: str, args: list[object], ack_id: int) -> None:
    (message,) = encode_ack(namespace, ack_id, args).attachments
    assert astuple(decode(message))[:4] == (ACK, namespace, args, ack_id)


@st.composite
def mutated_packets(draw: st.DrawFn) -> bytes:
    fields = {"type": draw(st.integers(0, 5)), "data": draw(VALUES), "id": draw(VALUES), "nsp": draw(VALUES | NAMESPACES)}
    packet = bytearray(msgspec.msgpack.encode({key: fields[key] for key in draw(st.lists(st.sampled_from(list(fields)), unique=True))}))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(packet)))
        packet[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(packet)


@given(mutated_packets() | st.binary(max_size=40))
def test_anything_else_is_a_decode_error(message: bytes) -> None:
    decoder = Decoder(Limits(json_depth=5, arguments=3, namespace_length=10), 200)
    try:
        packet = decoder.binary(message)
    except DecodeError:
        return
    assert packet is not None
    assert packet.type in PacketType
    assert packet.namespace.startswith("/")


# A server that speaks it.


class Point(msgspec.Struct):
    x: int
    raw: bytes
    when: datetime.datetime


class Application:
    def __init__(self, socket: Socket) -> None:
        self.socket = socket

    @on_message("echo")
    async def echo(self, *args: object) -> tuple[object, ...]:
        return args

    @on_message("typed")
    async def typed(self, point: Point, raws: list[bytes], when: datetime.datetime | None) -> list[str]:
        return [type(point).__name__, type(point.when).__name__, type(raws[0]).__name__, type(when).__name__]

    @on_message("say")
    async def say(self, *args: object) -> None:
        await self.socket.namespace.emit("said", *args)

    @on_message("ask")
    async def ask(self) -> object:
        return await self.socket.emit_with_ack("question")

    @on_message("leave")
    async def leave(self) -> None:
        await self.socket.disconnect()


async def refuse_everybody(ctx: Context, call_next: Next) -> object:
    raise ConnectionRefused("not you", data={"because": b"\x01"})


ROUTES = RoutingTable(Route("/", Application), Route("/guarded", Application, middleware=[refuse_everybody]))
WHEN = datetime.datetime(2026, 7, 1, 12, 30, 0, 123_000, tzinfo=datetime.UTC)


async def test_events_acks_and_broadcasts(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(ROUTES, config=Config(parser="msgpack")) as server, unchanged(server.server):
        async with server.strict_client(auth={"key": b"\x00"}) as client, server.strict_client() as other:
            assert await client.emit_with_ack("echo", b"\x00", {"deep": [b""]}, 2**63, WHEN) == (b"\x00", {"deep": [b""]}, 2**63, WHEN)
            await client.emit("say", b"\x01", None)
            assert await other.once("said") == await client.once("said") == (b"\x01", None)
            client.on("question", lambda: (b"a", "b"))
            assert await client.emit_with_ack("ask") == (b"a", "b")
            await other.disconnect()
            await client.emit("leave")
            assert (await client.closed()).disconnected
        with pytest.raises(ConnectionRefused) as refusal:
            async with server.strict_client("/guarded"):
                pass
        assert (refusal.value.message, refusal.value.data) == ("not you", {"because": b"\x01"})
        with pytest.raises(ConnectionRefused, match="Invalid namespace"):
            async with server.strict_client("/nowhere"):
                pass


async def test_arguments_are_converted(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(ROUTES, config=Config(parser="msgpack")) as server, server.strict_client() as client:
        types = ["Point", "datetime", "bytes", "datetime"]
        assert await client.emit_with_ack("typed", {"x": 1, "raw": b"\x00", "when": WHEN}, [b""], WHEN) == types
        # As in JSON, a text is a time, and is never bytes.
        assert await client.emit_with_ack("typed", {"x": 1, "raw": b"\x00", "when": WHEN.isoformat()}, [b""], WHEN.isoformat()) == types
        answer = await client.emit_with_ack("typed", {"x": 1, "raw": "AA==", "when": WHEN}, [b""], None)
        assert answer == {"status": "error", "message": "Expected `bytes`, got `str`", "path": "$[0].raw"}


@pytest.mark.parametrize(
    ("parser", "first", "complaint"),
    [
        (
            "msgpack",
            "40",
            "A text message arrived, and msgpack has binary ones only; a client with another parser needs the same in Config.parser",
        ),
        (
            "json",
            bytes.fromhex("82a47479706500a36e7370a12f"),
            "A binary message arrived that no packet announced; a client with another parser needs the same in Config.parser",
        ),
    ],
)
async def test_the_wrong_parser_ends_the_connection(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, parser: Any, first: str | bytes, complaint: str
) -> None:
    with caplog.at_level(logging.INFO, "trio_sio"):
        async with open_test_server(ROUTES, config=Config(parser=parser)) as server, unchanged(server.server):
            websocket: RawWebSocket
            async with await server.websocket() as websocket:
                await websocket.receive()
                await websocket.send(first)
                started = trio.current_time()
                with pytest.raises(WebSocketClosed):
                    await websocket.receive()
                assert trio.current_time() == started
    assert any(complaint in record.getMessage() and record.levelno == logging.INFO for record in caplog.records)


ATTACKS: dict[str, tuple[bytes | Mapping[str, object], str]] = {
    "keys that collide": ({"type": 2, "data": ["echo", {2**32: 1}], "nsp": "/"}, "A key of a map is not a string"),
    "too deep": (b"\x84\xa4data" + b"\x91" * 100_000, "nested more than 513 levels deep"),
    "truncated": (b"\x84\xa4type\x02\xa4data\xdd\xff\xff\xff\xff", "truncated"),
    "no UTF-8": (b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x91\xa1\xff", "not valid MessagePack"),
    "foreign extension": (event("echo", msgspec.msgpack.Ext(42, b"x")), "an extension that is neither"),
    "reserved name": (event("disconnect"), "reserved"),
    "no packet": (b"\xc0", "A packet is a map"),
    "second CONNECT": ({"type": 0, "nsp": "/"}, "a second CONNECT"),
    "namespace not joined": (event("echo", nsp="/guarded"), "not joined"),
}


@pytest.mark.hostile("S05", "S14", "S24", "S31")
@pytest.mark.parametrize("attack", ATTACKS)
async def test_bad_packets_end_the_connection_and_no_other(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, attack: str
) -> None:
    message, complaint = ATTACKS[attack]
    with caplog.at_level(logging.INFO, "trio_sio"):
        async with (
            open_test_server(ROUTES, config=Config(parser="msgpack")) as server,
            unchanged(server.server),
            server.strict_client() as bystander,
            server.strict_client() as attacker,
        ):
            started = trio.current_time()
            await attacker.connection.send(message if isinstance(message, bytes) else msgspec.msgpack.encode(message))
            await attacker.connection.closed()
            assert trio.current_time() == started
            assert await bystander.emit_with_ack("echo", "alive") == "alive"
    ended = [record for record in caplog.records if "forced close" in record.getMessage()]
    assert [record.levelno for record in ended] == [logging.INFO]
    assert complaint in ended[0].getMessage()
    assert not any(record.exc_info for record in caplog.records)
