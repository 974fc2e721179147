"""Packets of Socket.IO 5 as JSON: what is written, what is refused, and within which limits."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import astuple

from tests.protocol.decoding import ACK, CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, again, decode, refuse
from trio_sio.errors import EncodeError
from trio_sio.limits import Limits
from trio_sio.protocol.checks import RESERVED_EVENTS
from trio_sio.protocol.frames import EncodedPacket
from trio_sio.protocol.socketio import (
    encode_ack,
    encode_connect,
    encode_connect_error,
    encode_disconnect,
    encode_event,
)

# The packets of the protocol's own test suite, both ways.


@pytest.mark.parametrize(
    ("text", "packet"),
    [
        ("0", (CONNECT, "/", {}, None)),
        ('0{"token":"123"}', (CONNECT, "/", {"token": "123"}, None)),
        ("0/custom,", (CONNECT, "/custom", {}, None)),
        ('0/custom,{"token":"abc"}', (CONNECT, "/custom", {"token": "abc"}, None)),
        ("0/random", (CONNECT, "/random", {}, None)),
        ("0/custom?a=1,", (CONNECT, "/custom?a=1", {}, None)),
        ('0/,{"a":1}', (CONNECT, "/", {"a": 1}, None)),
        ("1", (DISCONNECT, "/", None, None)),
        ("1/custom", (DISCONNECT, "/custom", None, None)),
        ("1/custom,", (DISCONNECT, "/custom", None, None)),
        ('2["message",1,"2",{"3":[true]}]', (EVENT, "/", ["message", 1, "2", {"3": [True]}], None)),
        ('2456["message-with-ack",1,"2",{"3":[false]}]', (EVENT, "/", ["message-with-ack", 1, "2", {"3": [False]}], 456)),
        ('2/admin,["project:delete",123]', (EVENT, "/admin", ["project:delete", 123], None)),
        ('2/admin,456["project:delete",123]', (EVENT, "/admin", ["project:delete", 123], 456)),
        ("3456[]", (ACK, "/", [], 456)),
        ('3/admin,456["x"]', (ACK, "/admin", ["x"], 456)),
        ("3[1]", (ACK, "/", [1], None)),
        ('4{"message":"Not authorized"}', (CONNECT_ERROR, "/", {"message": "Not authorized"}, None)),
        ('4/nope,{"message":"Invalid namespace"}', (CONNECT_ERROR, "/nope", {"message": "Invalid namespace"}, None)),
        ('4"old"', (CONNECT_ERROR, "/", "old", None)),
    ],
)
def test_decode(text: str, packet: tuple[object, ...]) -> None:
    assert astuple(decode(text))[:5] == (*packet, len(text))


@pytest.mark.parametrize(
    ("text", "attachments", "packet"),
    [
        (
            '52-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]',
            [b"\x01\x02\x03", b"\x04\x05\x06"],
            (EVENT, "/", ["message", b"\x01\x02\x03", b"\x04\x05\x06"], None),
        ),
        ('51-/admin,456["x",{"a":[{"num":0,"_placeholder":true,"extra":[]}]}]', [b"z"], (EVENT, "/admin", ["x", {"a": [b"z"]}], 456)),
        ('62-789[{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]', [b"a", b"b"], (ACK, "/", [b"b", b"a"], 789)),
    ],
)
def test_decode_binary(text: str, attachments: list[bytes], packet: tuple[object, ...]) -> None:
    assert astuple(decode(text, *attachments))[:5] == (*packet, len(text) + sum(map(len, attachments)))


@pytest.mark.parametrize(
    ("encoded", "text", "attachments"),
    [
        (encode_event("/", ["auth", {}]), b'42["auth",{}]', []),
        (encode_event("/", ("message-back", 1, "2", {"3": [True]})), b'42["message-back",1,"2",{"3":[true]}]', []),
        (encode_event("/chat", ["é"], 0), '42/chat,0["é"]'.encode(), []),
        (encode_event("/chat", ["x", b"y"], 12), b'451-/chat,12["x",{"_placeholder":true,"num":0}]', [b"y"]),
        (encode_event("/", ["x", "\ud800"]), b'42["x","\\ud800"]', []),
        (encode_ack("/", 456, [1, "2", {"3": [False]}]), b'43456[1,"2",{"3":[false]}]', []),
        (encode_ack("/chat", 0, ()), b"43/chat,0[]", []),
        (
            encode_ack("/", 789, [b"\x01", [b"\x02"]]),
            b'462-789[{"_placeholder":true,"num":0},[{"_placeholder":true,"num":1}]]',
            [b"\x01", b"\x02"],
        ),
        (encode_connect("/", {"sid": "abc"}), b'40{"sid":"abc"}', []),
        (encode_connect("/chat", {"sid": "abc"}), b'40/chat,{"sid":"abc"}', []),
        (encode_connect_error("/random", "Invalid namespace"), b'44/random,{"message":"Invalid namespace"}', []),
        (encode_connect_error("/", "no", {"code": 1}), b'44{"message":"no","data":{"code":1}}', []),
        (encode_connect_error("/", "no", 0), b'44{"message":"no","data":0}', []),
        (encode_disconnect("/"), b"41", []),
        (encode_disconnect("/chat"), b"41/chat,", []),
    ],
    ids=repr,
)
def test_encode(encoded: EncodedPacket, text: bytes, attachments: list[bytes]) -> None:
    assert encoded.text == text
    assert list(encoded.attachments) == attachments


def test_only_events_that_want_no_ack_may_be_dropped() -> None:
    assert encode_event("/", ["x"]).droppable
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
    with pytest.raises(EncodeError, match="while connecting"):
        encode_connect_error("/", "no", [b"x"])


LOOKALIKES: dict[str, object] = {
    "alone": {"_placeholder": True, "num": 0},
    "deep": [{"a": [{"num": 7, "_placeholder": True}]}],
    "with more": {"x": 1, "_placeholder": True},
    "with a lone surrogate": ["\ud800", {"_placeholder": True, "num": 0}],
}


@pytest.mark.parametrize("lookalike", LOOKALIKES.values(), ids=LOOKALIKES)
def test_what_looks_like_a_placeholder_does_not_go_with_attachments(lookalike: object) -> None:
    for args in ((lookalike, b"y"), (b"y", lookalike)):
        with pytest.raises(EncodeError, match="placeholder"):
            encode_event("/", ["x", *args])
        with pytest.raises(EncodeError, match="placeholder"):
            encode_ack("/", 1, args)


@pytest.mark.parametrize("lookalike", LOOKALIKES.values(), ids=LOOKALIKES)
def test_without_attachments_nothing_is_a_placeholder(lookalike: object) -> None:
    assert again(encode_event("/", ["x", lookalike])).data == ["x", lookalike]


@pytest.mark.parametrize(
    "value",
    [
        {"_placeholder": 1},
        {"_placeholder": "true"},
        {'"_placeholder': True},
        {',"_placeholder': True},
        {"my_placeholder": True},
        '{"_placeholder":true,"num":0}',
        {"a": '{"_placeholder":true', "b": '"_placeholder":true'},
    ],
    ids=repr,
)
def test_what_only_resembles_a_placeholder_goes_with_attachments(value: object) -> None:
    assert again(encode_event("/", ["x", value, b"y"])).data == ["x", value, b"y"]


# Malformed packets.


@pytest.mark.hostile("S01", "S02")
@pytest.mark.parametrize("text", ["", "7", "9", "x", "abc", " 2", '-2["x"]', "²", "[", '"'])
def test_unknown_types_are_refused(text: str) -> None:
    assert "digit from 0 to 6" in refuse(text)


@pytest.mark.hostile("S10", "S16", "S18", "S19", "S22", "S23", "S41")
@pytest.mark.parametrize(
    "text",
    [
        *("0[]", '0"x"', "0null", "0{", "0{}x", "0 {}", "05[]"),
        *('1"x"', "1{}", "1[]", "1 ", "1/chat,x"),
        *("2", "2/chat,", "25", "2{}", '2"a"', "2null", "2[]", "2[null]", "2[{}]", "2[[]]", "2[true]", "2/chat,[]", "2/chat,12[]"),
        *('2["a"', '2["a"]x', '2["a"]]', "2['a']", '2 ["a"]', '2\ufeff["a"]', '2["a",]', '2/chat["a","b"]', '2chat,["a"]'),
        *('2["a",NaN]', '2["a",Infinity]', '2["a",-Infinity]', '2["a",1e999]'),
        *("3{}", '3"x"', "3null", "31{}", "3/chat,1x"),
        *("4", "4[]", "4null", "4{", '4"x', "4/chat,"),
    ],
)
def test_malformed_packets_are_refused(text: str) -> None:
    refuse(text)


@pytest.mark.hostile("S20")
def test_numeric_names_become_strings() -> None:
    assert decode("2[5,1]").data == ["5", 1]
    assert decode("2/chat,[-5]").data == ["-5"]
    for text in ("2[1.5]", "2[5.0]", "2[1e3]", "2[99999999999999999999]", "2[true]"):
        assert "must be a string or an integer" in refuse(text)


@pytest.mark.hostile("S21", "S25", "S26")
@pytest.mark.parametrize("name", ["", "error", "connection", "message", "ping", "__proto__", "toString", "__class__", "on_disconnect"])
def test_other_names_are_ordinary(name: str) -> None:
    assert decode(f'2["{name}",1]').data == [name, 1]


@pytest.mark.hostile("S24", "S59")
@pytest.mark.parametrize("name", ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"])
def test_reserved_names_are_refused(name: str) -> None:
    assert "reserved" in refuse(f'2["{name}"]')
    assert "reserved" in refuse(f'21["{name}"]')
    assert "reserved" in refuse(f'2/chat,["{name}"]')
    assert "reserved" in refuse(f'51-["{name}",{{"_placeholder":true,"num":0}}]')


@pytest.mark.hostile("S11")
@pytest.mark.parametrize("text", ["05", "012{}", "0/chat,12"])
def test_the_ack_id_of_a_connect_is_ignored(text: str) -> None:
    packet = decode(text)
    assert packet.id is None
    assert packet.data == {}


@pytest.mark.hostile("S35")
@pytest.mark.parametrize("form", ['2{}["x"]', '2/chat,{}["x"]', "3{}[]", "3{}", '51-{}["x"]'])
def test_ack_ids_are_exact(form: str) -> None:
    def ack_id(digits: str) -> int | None:
        return decode(form.format(digits), *([b""] if form[0] == "5" else [])).id

    assert ack_id("0") == 0
    assert ack_id("007") == 7
    assert ack_id("999999999999999") == 10**15 - 1
    assert ack_id("1000000000000000") == 10**15
    assert ack_id("9007199254740991") == 2**53 - 1
    for digits in ("9007199254740992", "9007199254740993", "9" * 17, "9" * 400, "0" * 5000):
        assert "larger than 2**53 - 1" in refuse(form.format(digits))


@pytest.mark.hostile("S36", "S37")
@pytest.mark.parametrize("digits", ["-1", "+1", "1.5", "1e3", "0x1", "1_0", "²", "١", "1²", " 1", "1 ", "abc", "12abc"])
def test_ack_ids_are_ascii_digits(digits: str) -> None:
    for text in (f'2{digits}["x"]', f'2/chat,{digits}["x"]', f"3{digits}[]"):
        refuse(text)


@pytest.mark.hostile("S40")
@pytest.mark.parametrize("text", ["31", "3/chat,1"])
def test_an_ack_without_a_payload_has_no_arguments(text: str) -> None:
    packet = decode(text)
    assert packet.data == []
    assert packet.id == 1


# Namespaces.


@pytest.mark.hostile("S09")
@pytest.mark.parametrize("namespace", ["/a", "/a?x=1", "/a\nb", "/a/b", "/é", "/ ", "/" + "x" * 254, "/" + "é" * 254])
def test_namespaces_are_taken_literally(namespace: str) -> None:
    assert decode(f"0{namespace},").namespace == namespace
    assert decode(f"0{namespace}").namespace == namespace
    assert decode(f'2{namespace},["x"]').namespace == namespace


@pytest.mark.hostile("S09")
def test_namespaces_have_a_length() -> None:
    assert "256 characters" in refuse("0/" + "x" * 255)
    assert "100001 characters" in refuse("0/" + "\U0001f600" * 100_000 + ",")
    assert decode("0/ab", limits=Limits(namespace_length=3)).namespace == "/ab"
    refuse("0/abc", limits=Limits(namespace_length=3))
    assert "UTF-8" in refuse(b"0/\xff,")


# Limits: n passes, n + 1 does not.


@pytest.mark.parametrize("prefix", ["2", "21", "2/chat,", "2/chat,1"])
@pytest.mark.hostile("S33")
def test_arguments_are_limited(prefix: str) -> None:
    def event(count: int) -> str:
        return f'{prefix}["x"' + ",1" * count + "]"

    assert len(decode(event(1024)).data) == 1025
    assert "1025 arguments" in refuse(event(1025))
    assert "100000 arguments" in refuse(event(100_000))
    assert decode(event(2), limits=Limits(arguments=2)).data == ["x", 1, 1]
    assert "3 arguments" in refuse(event(3), limits=Limits(arguments=2))


@pytest.mark.hostile("S33")
def test_arguments_of_an_ack_are_limited() -> None:
    assert decode("31[1,2]", limits=Limits(arguments=2)).data == [1, 2]
    assert "3 arguments" in refuse("31[1,2,3]", limits=Limits(arguments=2))


def deep(opening: str, closing: str, depth: int) -> str:
    return opening * depth + "1" + closing * depth


@pytest.mark.hostile("S31")
@pytest.mark.parametrize("brackets", ["[]", ('{"a":', "}"), ('[{"[":', "}]")], ids=["lists", "dicts", "both"])
@pytest.mark.parametrize("padding", ["", ',"' + "[{" * 1000 + '"', ",[[],[{}],{}]" * 200], ids=["alone", "brackets in a string", "wide"])
def test_depth_is_limited(brackets: Sequence[str], padding: str) -> None:
    opening, closing = brackets
    levels = 2 if opening == '[{"[":' else 1
    # The array of the event is the first level; the limit below is odd, so that pairs fit in exactly.
    for limit in (7, 511):
        fits = (limit - 1) // levels
        limits = Limits(json_depth=limit)
        assert decode(f'2["x",{deep(opening, closing, fits)}{padding}]', limits=limits).data[0] == "x"
        assert "levels deep" in refuse(f'2["x",{deep(opening, closing, fits + 1)}{padding}]', limits=limits)


def test_depth_is_limited_in_every_kind_of_packet() -> None:
    limits = Limits(json_depth=3)
    assert decode('0{"a":[[]]}', limits=limits).data == {"a": [[]]}
    assert decode("31[[[]]]", limits=limits).data == [[[]]]
    assert decode('4{"a":[[]]}', limits=limits).data == {"a": [[]]}
    for text in ('0{"a":[[[]]]}', '0{"a":[[{}]]}', "31[[[[]]]]", '4{"a":[[[]]]}', '2["",[[[]]]]', '51-["",[[{}]]]'):
        assert "levels deep" in refuse(text, limits=limits)


@pytest.mark.hostile("S31", "S32")
def test_absurd_depth_is_an_ordinary_refusal() -> None:
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        refuse('2["x",' + deep(opening, closing, 100_000) + "]")
        refuse('51-["x","\\ud800",' + deep(opening, closing, 100_000) + "]")


@pytest.mark.hostile("S32")
def test_a_placeholder_may_lie_deep() -> None:
    data: Any = decode('51-["x",' + "[" * 510 + '{"_placeholder":true,"num":0}' + "]" * 510 + "]", b"z").data[1]
    for _ in range(510):
        (data,) = data
    assert data == b"z"


@pytest.mark.hostile("R10")
@pytest.mark.parametrize("prefix", ["2", "51-", "3", "0/a,"])
@pytest.mark.parametrize("item", ["[]", "{}", "[1]", '{"[":1}', "[[]]"])
def test_the_number_of_lists_and_dicts_is_limited(prefix: str, item: str) -> None:
    def packet(count: int, padding: str) -> str:
        items = ",".join([item] * (count // (2 if item == "[[]]" else 1)))
        # The outermost one counts, too, and what is in a string does not.
        return f'{prefix}{{"a":[{items}],"b":"{padding}"}}' if prefix == "0/a," else f'{prefix}["x",[{items}],"{padding}"]'

    limits = Limits(containers=22)
    for padding in ("", "[" * 100, r"{\\\"[\\" * 200):
        decode(packet(20, padding), *([b""] if prefix == "51-" else []), limits=limits)
        assert "more than 22 lists and dicts (Limits.containers)" in refuse(packet(22, padding), limits=limits)


@pytest.mark.hostile("S12")
def test_the_auth_payload_is_limited() -> None:
    def connect(size: int) -> str:
        return '0/chat,{"a":"' + "x" * (size - 8) + '"}'

    assert decode(connect(64 * 1024)).data["a"]
    assert "65537 bytes" in refuse(connect(64 * 1024 + 1))
    assert decode('0{"__proto__":{"admin":true}}').data == {"__proto__": {"admin": True}}


@pytest.mark.hostile("S34")
@pytest.mark.parametrize("item", [b"[],", b"{},", b"[1],", b'"",', b"1.5,"], ids=bytes.decode)
@pytest.mark.slow
def test_memory_is_in_proportion(item: bytes) -> None:
    text = b'2["x",' + item * (1_000_000 // len(item)) + b"1]"
    limits = Limits(arguments=1_000_000, containers=1_000_000)
    tracemalloc.start()
    try:
        packet = decode(text, limits=limits)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(packet.data) > 200_000
    # An empty list takes 72 bytes and stands in three; while it parses, orjson holds 12 more for every byte.
    assert kept < 30 * len(text)
    assert peak < 40 * len(text)
