"""Properties of the Socket.IO packets: what was encoded is decoded, and anything else is a `DecodeError`."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import astuple, replace

from tests.protocol.decoding import ACK, CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, again
from trio_sio.errors import DecodeError
from trio_sio.limits import Limits
from trio_sio.protocol.checks import RESERVED_EVENTS
from trio_sio.protocol.memory import json_memory
from trio_sio.protocol.socketio import (
    Decoder,
    Packet,
    encode_ack,
    encode_connect,
    encode_connect_error,
    encode_disconnect,
    encode_event,
)

# Properties.

TEXTS = st.text(st.characters() | st.characters(categories=["Cs"]), max_size=20)
KEYS = TEXTS.filter(lambda key: key != "_placeholder")
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | st.binary(max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(KEYS, children, max_size=4),
    max_leaves=20,
)
NAMES = TEXTS.filter(lambda name: name not in RESERVED_EVENTS)
NAMESPACES = st.just("/") | st.text(st.characters(exclude_characters=",", exclude_categories=["Cs"]), max_size=20).map("/{}".format)
IDS = st.integers(0, 2**53 - 1)


@given(NAMESPACES, NAMES, st.lists(VALUES, max_size=5), st.none() | IDS)
@example("/", "", [[b"", b"", b""]] * 4, None)  # more attachments than a peer accepts unless told otherwise
def test_events_survive_the_journey(namespace: str, name: str, args: list[object], ack_id: int | None) -> None:
    encoded = encode_event(namespace, [name, *args], ack_id, most=1000)
    assert astuple(again(encoded))[:5] == (EVENT, namespace, [name, *args], ack_id, encoded.size - 1)


@given(NAMESPACES, st.lists(VALUES, max_size=5), IDS)
@example("/", [[b"", b"", b""]] * 4, 0)
def test_acks_survive_the_journey(namespace: str, args: list[object], ack_id: int) -> None:
    encoded = encode_ack(namespace, ack_id, args, most=1000)
    assert astuple(again(encoded))[:5] == (ACK, namespace, args, ack_id, encoded.size - 1)


@given(NAMESPACES, TEXTS)
def test_control_packets_survive_the_journey(namespace: str, text: str) -> None:
    assert astuple(again(encode_connect(namespace, {"sid": "a"})))[:3] == (CONNECT, namespace, {"sid": "a"})
    assert astuple(again(encode_connect_error(namespace, text, [text])))[:3] == (
        CONNECT_ERROR,
        namespace,
        {"message": text, "data": [text]},
    )
    assert astuple(again(encode_disconnect(namespace)))[:3] == (DISCONNECT, namespace, None)


def outcome(text: bytes) -> object:
    try:
        return Decoder(Limits(arguments=3, json_depth=30), 1000).text(text)
    except DecodeError as exc:
        return str(exc)


BODIES = st.text(alphabet='[]{}",:\\ud8019-.eE nulltrfas x', max_size=20).map(str.encode) | st.binary(max_size=20)


@given(st.integers(0, 10**17), BODIES)
@example(1, b'"a",1,1,1]')
@example(1, b'"a",1,1,1,1]')
@example(1, b'"a",[[[[]]]]]')
@example(1, b'"disconnect"]')
@example(10**15, b'"a"]')
def test_the_short_cut_decodes_as_the_long_way_does(ack_id: int, body: bytes) -> None:
    # "2[...]" takes the short cut; "2/,[...]" means the same, and does not.
    for payload in (b"[" + body, b"[" + body + b"]", b'["a",' + body + b"]"):
        for head in (b"", b"%d" % ack_id):
            short, long = outcome(b"2" + head + payload), outcome(b"2/," + head + payload)
            if isinstance(long, Packet):
                long = replace(long, size=long.size - 2, memory=json_memory(b"2" + head + payload))
            assert short == long


VALID = [
    b'0/chat,{"token":"abc"}',
    b"1/chat,",
    b'2/chat,12["say",{"a":[1,2.5,null,true]},"\\ud83d\\ude00"]',
    b'2["say"]',
    b"312[1]",
    b'4{"message":"no","data":{"code":1}}',
    b'52-/chat,12["say",{"_placeholder":true,"num":0},[{"_placeholder":true,"num":1}]]',
    b'61-12[{"_placeholder":true,"num":0}]',
]


@st.composite
def mutated_packets(draw: st.DrawFn) -> bytes:
    packet = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(packet)))
        packet[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3) | st.sampled_from([b"-", b",", b"/", b"[", b'"', b"9" * 20]))
    return bytes(packet)


@given(st.lists(mutated_packets() | st.binary(max_size=40) | st.binary(max_size=5).map(bytearray), max_size=6))
def test_anything_else_is_a_decode_error(messages: list[bytes | bytearray]) -> None:
    decoder = Decoder(Limits(), 200)
    for message in messages:
        try:
            # The strategy uses bytearray to mean "binary message".
            packet = decoder.binary(bytes(message)) if isinstance(message, bytearray) else decoder.text(message)
        except DecodeError:
            assert decoder.pending is None
        else:
            assert (packet is None) == (decoder.pending is not None)
