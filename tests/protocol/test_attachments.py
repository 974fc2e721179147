"""Attachments of Socket.IO packets: how many there may be, and which placeholders are theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple, replace

from tests.protocol.decoding import EVENT, decode, refuse
from trio_sio.errors import DecodeError
from trio_sio.limits import Limits
from trio_sio.protocol.memory import PER_ATTACHMENT
from trio_sio.protocol.socketio import Decoder


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
    assert astuple(packet)[:5] == (EVENT, "/", ["x", b"y"], None, 39)
    with pytest.raises(DecodeError, match="no packet announced"):
        decoder.binary(b"z")


def test_the_header_is_known_before_the_attachments() -> None:
    decoder = Decoder(Limits(), 1000)
    assert decoder.text(b'52-/chat,7["x"]') is None
    header = decoder.pending
    assert header is not None
    assert astuple(header)[:5] == (EVENT, "/chat", ["x"], 7, 15)
    assert decoder.binary(b"abc") is None
    assert decoder.pending == replace(header, size=18, memory=header.memory + 3 + PER_ATTACHMENT)
    assert decoder.binary(b"") == replace(header, size=18, memory=header.memory + 3 + 2 * PER_ATTACHMENT)
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
