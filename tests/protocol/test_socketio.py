from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_sio.errors import DecodeError, EncodeError
from trio_sio.limits import Limits
from trio_sio.protocol.checks import RESERVED_EVENTS
from trio_sio.protocol.frames import EncodedPacket
from trio_sio.protocol.memory import PER_ATTACHMENT, json_memory
from trio_sio.protocol.socketio import (
    Decoder,
    Packet,
    PacketType,
    encode_ack,
    encode_connect,
    encode_connect_error,
    encode_disconnect,
    encode_event,
)

CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR = PacketType(0), PacketType(1), PacketType(2), PacketType(3), PacketType(4)


def decode(text: bytes | str, *attachments: bytes, limits: Limits | None = None, max_bytes: int = 1_000_000) -> Packet:
    decoder = Decoder(limits or Limits(), max_bytes)
    packet = decoder.text(text if isinstance(text, bytes) else text.encode())
    for attachment in attachments:
        assert packet is None
        packet = decoder.binary(attachment)
    assert packet is not None
    assert decoder.pending is None
    return packet


def again(encoded: EncodedPacket) -> Packet:
    assert encoded.text is not None
    assert encoded.text[:1] == b"4"
    return decode(encoded.text[1:], *encoded.attachments, limits=Limits(attachments=1000))


def refuse(text: bytes | str, *attachments: bytes, limits: Limits | None = None, max_bytes: int = 1_000_000) -> str:
    with pytest.raises(DecodeError) as refusal:
        decode(text, *attachments, limits=limits, max_bytes=max_bytes)
    assert len(str(refusal.value)) < 300
    return str(refusal.value)


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
    assert decode(text)[:5] == (*packet, len(text))


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
    assert decode(text, *attachments)[:5] == (*packet, len(text) + sum(map(len, attachments)))


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
        assert decode(packet(20, padding), *([b""] if prefix == "51-" else []), limits=limits)
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


# Attachments.


@pytest.mark.hostile("S45", "S46", "S47", "S48")
@pytest.mark.parametrize(
    "count",
    [
        "0-",
        "00-",
        "",
        "-",
        "-1-",
        "1.5-",
        " -",
        " 1-",
        "1 -",
        "1",
        "1e1-",
        "0x1-",
        "²-",
        "١-",
        "1_0-",
        "9" * 100_000 + "-",
        "11-",
        "1000000000-",
    ],
)
def test_illegal_counts_are_refused(count: str) -> None:
    refuse(f'5{count}["x",{{"_placeholder":true,"num":0}}]')
    refuse(f"6{count}1[]")


@pytest.mark.parametrize("text", ["01-{}", "11-", '21-["x"]', "31-[]", '41-{"message":"x"}'])
def test_only_binary_packets_have_a_count(text: str) -> None:
    refuse(text)


@pytest.mark.hostile("S48")
def test_attachments_are_limited() -> None:
    assert decode('510-["x"]', *[b""] * 10).data == ["x"]
    assert "11 attachments; at most 10" in refuse('511-["x"]')
    assert decode('52-["x"]', b"", b"", limits=Limits(attachments=2)).data == ["x"]
    assert "3 attachments; at most 2" in refuse('53-["x"]', limits=Limits(attachments=2))


def test_a_packet_with_its_attachments_is_limited() -> None:
    text = '52-["x",{"_placeholder":true,"num":0}]'
    room = 100 - len(text)
    assert decode(text, bytes(room - 10), bytes(10), max_bytes=100).size == 100
    assert "larger than 100 bytes" in refuse(text, bytes(room - 10), bytes(11), max_bytes=100)
    assert "larger than 100 bytes" in refuse(text, bytes(room + 1), max_bytes=100)
    assert "larger than 10 bytes" in refuse(text, max_bytes=10)


def test_what_is_refused_is_not_kept() -> None:
    decoder = Decoder(Limits(), 100)
    decoder.text(b'52-["x"]')
    decoder.binary(b"y" * 50)
    with pytest.raises(DecodeError):
        decoder.binary(b"y" * 50)
    assert decoder.pending is None
    with pytest.raises(DecodeError, match="no packet announced"):
        decoder.binary(b"")


@pytest.mark.hostile("S50")
@pytest.mark.parametrize("text", [b'2["y"]', b"1", b"0/chat,", b'2/chat,["y"]', b'51-["y"]', b"x"])
def test_attachments_come_before_any_text(text: bytes) -> None:
    decoder = Decoder(Limits(), 1000)
    assert decoder.text(b'52-["x"]') is None
    assert decoder.binary(b"") is None
    with pytest.raises(DecodeError, match="before the attachments"):
        decoder.text(text)
    assert decoder.pending is None


@pytest.mark.hostile("E08", "S51")
def test_attachments_that_were_not_announced_are_refused() -> None:
    decoder = Decoder(Limits(), 1000)
    for payload in (b"", b"x"):
        with pytest.raises(DecodeError, match="no packet announced"):
            decoder.binary(payload)
    assert decoder.text(b'51-["x",{"_placeholder":true,"num":0}]') is None
    packet = decoder.binary(b"y")
    assert packet is not None
    assert packet[:5] == (EVENT, "/", ["x", b"y"], None, 39)
    with pytest.raises(DecodeError, match="no packet announced"):
        decoder.binary(b"z")


def test_the_header_is_known_before_the_attachments() -> None:
    decoder = Decoder(Limits(), 1000)
    assert decoder.text(b'52-/chat,7["x"]') is None
    header = decoder.pending
    assert header is not None
    assert header[:5] == (EVENT, "/chat", ["x"], 7, 15)
    assert decoder.binary(b"abc") is None
    assert decoder.pending == header._replace(size=18, memory=header.memory + 3 + PER_ATTACHMENT)
    assert decoder.binary(b"") == header._replace(size=18, memory=header.memory + 3 + 2 * PER_ATTACHMENT)
    assert decoder.pending is None


@pytest.mark.hostile("S53", "S54", "S55")
@pytest.mark.parametrize("num", ["1", "-1", '"0"', "null", "true", "false", "[0]", "{}", "1e0", "0.5", "0.0", "99999999999999999999"])
def test_placeholders_refer_to_an_attachment(num: str) -> None:
    assert "placeholder" in refuse(f'51-["x",{{"_placeholder":true,"num":{num}}}]')
    assert "placeholder" in refuse(f'51-["x",[{{"a":{{"_placeholder":true,"num":{num}}}}}]]')
    assert "placeholder" in refuse('61-1[{"_placeholder":true}]')


@pytest.mark.hostile("S56")
def test_an_attachment_may_be_used_many_times() -> None:
    attachment = bytes(1000)
    data = decode('51-["x",[' + ",".join(['{"_placeholder":true,"num":0}'] * 20_000) + "]]", attachment).data
    assert len(data[1]) == 20_000
    assert all(item is attachment for item in data[1])


@pytest.mark.hostile("S57", "S60")
def test_attachments_may_be_unused_or_empty() -> None:
    assert decode('51-["x"]', b"y").data == ["x"]
    assert decode('51-["x",{"_placeholder":true,"num":0}]', b"").data == ["x", b""]
    assert decode("61-5", b"y").data == []


@pytest.mark.hostile("S58")
def test_only_true_placeholders_count() -> None:
    for value in ('"yes"', "1", "null", "[true]"):
        packet = decode(f'51-["x",{{"_placeholder":{value},"num":0}}]', b"y")
        assert packet.data[1]["num"] == 0
    plain = decode('2["x",{"_placeholder":true,"num":7}]')
    assert plain.data == ["x", {"_placeholder": True, "num": 7}]


ITEMS = st.recursive(
    st.none()
    | st.integers(0, 3)
    | st.just({"_placeholder": False, "num": 0})
    | st.builds(lambda num: {"_placeholder": True, "num": num}, st.integers(0, 2)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "num", "_placeholder"]), inner, max_size=4),
    max_leaves=30,
)


def filled_in(value: Any, attachments: Sequence[bytes]) -> Any:
    if isinstance(value, dict):
        if value.get("_placeholder") is True:
            return attachments[value["num"]]
        return {key: filled_in(item, attachments) for key, item in value.items()}
    return [filled_in(item, attachments) for item in value] if isinstance(value, list) else value


@pytest.mark.hostile("R13")
@given(st.lists(ITEMS, max_size=5))
def test_every_placeholder_is_found(items: list[Any]) -> None:
    attachments = [b"a", b"b", b"c"]
    data = ["x", *items]
    assert decode(b"53-" + orjson.dumps(data), *attachments).data == filled_in(data, attachments)


@pytest.mark.hostile("S59")
@pytest.mark.parametrize("payload", ['[{"_placeholder":true,"num":0}]', '{"_placeholder":true,"num":0}', "[]", "", "{}"])
def test_a_binary_event_needs_a_name(payload: str) -> None:
    refuse(f"51-{payload}")


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
    assert again(encoded)[:5] == (EVENT, namespace, [name, *args], ack_id, encoded.size - 1)


@given(NAMESPACES, st.lists(VALUES, max_size=5), IDS)
@example("/", [[b"", b"", b""]] * 4, 0)
def test_acks_survive_the_journey(namespace: str, args: list[object], ack_id: int) -> None:
    encoded = encode_ack(namespace, ack_id, args, most=1000)
    assert again(encoded)[:5] == (ACK, namespace, args, ack_id, encoded.size - 1)


@given(NAMESPACES, TEXTS)
def test_control_packets_survive_the_journey(namespace: str, text: str) -> None:
    assert again(encode_connect(namespace, {"sid": "a"}))[:3] == (CONNECT, namespace, {"sid": "a"})
    assert again(encode_connect_error(namespace, text, [text]))[:3] == (CONNECT_ERROR, namespace, {"message": text, "data": [text]})
    assert again(encode_disconnect(namespace))[:3] == (DISCONNECT, namespace, None)


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
                long = long._replace(size=long.size - 2, memory=json_memory(b"2" + head + payload))
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
