from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_sio.errors import EncodeError, PacketError
from trio_sio.protocol import engineio
from trio_sio.protocol.engineio import binary_message, decode_payload, open_packet, text_message


def test_open_packet_is_that_of_node() -> None:
    packet = open_packet("c78sWxU-cET36TOwAAAA", ["websocket"], 60, 20, 1000)
    assert packet.text == (
        b'0{"sid":"c78sWxU-cET36TOwAAAA","upgrades":["websocket"],"pingInterval":60000,"pingTimeout":20000,"maxPayload":1000}'
    )


def test_open_packet_has_whole_milliseconds() -> None:
    assert b'"pingInterval":300,"pingTimeout":1' in (open_packet("a", [], 0.3, 0.0006, 1).text or b"")


def test_infinite_times_fit_a_javascript_timer() -> None:
    text = open_packet("a", [], math.inf, math.inf, 1).text
    assert text == b'0{"sid":"a","upgrades":[],"pingInterval":1073741823,"pingTimeout":1073741823,"maxPayload":1}'
    assert 2 * 1_073_741_823 <= 2**31 - 1


@pytest.mark.parametrize(
    ("body", "records"),
    [
        (b"4hello", [(False, b"4hello")]),
        (b"4hello\x1ebAQIDBA==", [(False, b"4hello"), (True, b"\x01\x02\x03\x04")]),
        (b"4a\x1e4b\x1e4c", [(False, b"4a"), (False, b"4b"), (False, b"4c")]),
        (b"b", [(True, b"")]),
        (b"0\x1e1\x1e2\x1e3\x1e4\x1e5\x1e6", [(False, b"%d" % digit) for digit in range(7)]),
        ("4€".encode(), [(False, "4€".encode())]),
    ],
)
def test_decode_payload(body: bytes, records: list[tuple[bool, bytes]]) -> None:
    assert list(decode_payload(body)) == records


@pytest.mark.parametrize("body", [b"", b"\x1e", b"\x1e4a", b"4a\x1e", b"4a\x1e\x1e4b"])
def test_empty_packets_are_refused(body: bytes) -> None:
    with pytest.raises(PacketError, match="empty packet"):
        list(decode_payload(body))


@pytest.mark.parametrize("body", [b"abc", b"7", b"x", b" 4", b"\x004", "🙂".encode()])
def test_unknown_types_are_refused(body: bytes) -> None:
    with pytest.raises(PacketError, match="unknown type"):
        list(decode_payload(body))


@pytest.mark.hostile("E14")
@pytest.mark.parametrize(
    "record", [b"b!!!!", b"bAB", b"bA=B", b"bAQID=", b"bAQID==", b"bAQID====", b"bAQI==", b"bAQ==AQ==", b"bAQ\n==", b"b-_-_", b"b===="]
)
def test_base64_is_strict(record: bytes) -> None:
    with pytest.raises(PacketError, match="base64"):
        list(decode_payload(record))


def test_good_records_come_out_before_a_bad_one() -> None:
    records = decode_payload(b"4a\x1ex\x1e4b")
    assert next(records) == (False, b"4a")
    with pytest.raises(PacketError):
        next(records)
    assert list(records) == []


def test_nothing_comes_out_of_a_body_that_is_not_utf8() -> None:
    with pytest.raises(PacketError, match="UTF-8"):
        next(decode_payload(b"4a\x1e4\xff"))


@pytest.mark.hostile("E17")
def test_the_number_of_records_is_not_limited() -> None:
    assert sum(1 for _ in decode_payload(b"\x1e".join([b"6"] * 10_000))) == 10_000


@given(st.lists(st.binary() | st.text(st.characters(exclude_characters="\x1e", exclude_categories=["Cs"])), min_size=1))
def test_what_is_encoded_is_decoded(messages: list[str | bytes]) -> None:
    packets = [text_message(message) if isinstance(message, str) else binary_message(message) for message in messages]
    body = b"\x1e".join(packet.polling for packet in packets)
    decoded = [data if is_binary else data[1:].decode() for is_binary, data in decode_payload(body)]
    assert decoded == messages


@given(st.binary() | st.lists(st.sampled_from([b"4", b"b", b"\x1e", b"AQ==", b"=", b"\xff", b"x"])).map(b"".join))
def test_anything_else_is_a_packet_error(body: bytes) -> None:
    try:
        records = list(decode_payload(body))
    except PacketError:
        return
    assert len(records) == body.count(engineio.RECORD_SEPARATOR) + 1


def test_a_text_message_cannot_smuggle_packets() -> None:
    with pytest.raises(EncodeError, match=r"U\+001E"):
        text_message("a\x1e1")
    with pytest.raises(EncodeError, match="surrogates"):
        text_message("\ud800")


def test_a_binary_message_is_a_copy() -> None:
    buffer = bytearray(b"abc")
    packet = binary_message(buffer)
    buffer[0] = 0
    assert list(packet.messages()) == [b"abc"]
