"""What a packet is said to take in memory, and what it takes."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Callable

import msgspec
import pytest

from trio_sio.limits import Limits
from trio_sio.protocol import msgpack, socketio
from trio_sio.protocol.memory import PER_ATTACHMENT, json_memory
from trio_sio.protocol.socketio import Packet

COPIES = 4
LIMITS = Limits()


def event(text: str) -> bytes:
    return f'2["x",{text}]'.encode()


def listed(*items: str) -> bytes:
    return event(f"[{','.join(items)}]")


JSON = {
    "a name": b'2["a"]',
    "two numbers": event('{"x":1.5,"y":300}'),
    "a line of text": event(json.dumps("x" * 100)),
    "a short list of dicts": listed(*["{}"] * 150),
    "a long text": event(json.dumps("x" * 100_000)),
    "text with commas": event(json.dumps('hello, world and "so on"\n' * 4_000)),
    "dicts": listed(*["{}"] * 2_000),
    "lists": listed(*["[]"] * 2_000),
    "lists in lists": listed(*["[" * 300 + "]" * 300] * 5),
    "dicts in dicts": listed(*['{"":' * 300 + "0" + "}" * 300] * 5),
    "dicts with one member": listed(*['{"":0}'] * 2_000),
    "points": listed(*['{"x":1.5,"y":2.5}'] * 2_000),
    "rows": listed(*['{"a":"01234567","b":1000,"c":null,"d":true,"e":[1,2],"f":"x"}'] * 500),
    "words": listed(*[f'"w{number}"' for number in range(1_000)]),
    "Chinese words": listed(*['"漢字"'] * 3_000),
    "emoji": listed(*['"😀"'] * 3_000),
    "floats": listed(*["1.5"] * 2_000),
    "integers": listed(*["999"] * 2_000),
    "keys": event("{" + ",".join(f'"k{number}":0' for number in range(1_000)) + "}"),
    "text with one emoji": event(f'"{"x" * 100_000}😀"'),
    "text with one escaped emoji": event('"' + "x" * 100_000 + r"\ud83d\ude00" + '"'),
    "text with one Chinese character": event(f'"{"x" * 100_000}漢"'),
    "Chinese text": event(json.dumps("漢字" * 20_000, ensure_ascii=False)),
}
# What is said of these is too much by more: looking closer would take longer than it is worth.
FRUGAL = {
    "small integers": listed(*["1"] * 2_000),
    "French text": event(json.dumps("déjà vu " * 5_000, ensure_ascii=False)),
    "text with quotation marks only": event(json.dumps('"' * 2_000)),
}

MSGPACK: dict[str, object] = {
    "a name": [],
    "two numbers": [{"x": 1.5, "y": 300}],
    "bytes": [bytes(100_000)],
    "bytes among other things": [{"name": "a.png", "parts": [bytes(50_000), bytes(50_000)]}],
    "text with one emoji": ["x" * 100_000 + "😀"],
    "dicts": [[{}] * 2_000],
    "lists": [[[]] * 2_000],
    "dicts with one member": [[{"": 0}] * 2_000],
    "Chinese words": [["漢"] * 1_000],
    "points": [[{"x": 1.5, "y": 2.5}] * 2_000],
}


def truth(decode: Callable[[], Packet | None]) -> tuple[Packet, float]:
    """Return a packet, and how much memory each of many like it takes."""
    packets: list[Packet | None] = [None] * COPIES
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(COPIES):
            packets[number] = decode()
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert packets[0] is not None
    return packets[0], taken / COPIES


def json_truth(payload: bytes) -> tuple[Packet, float]:
    return truth(lambda: socketio.Decoder(LIMITS, 1_000_000).text(payload))


@pytest.mark.parametrize("name", JSON)
def test_json_takes_at_most_twice_what_is_said_and_at_least_a_fifth(name: str) -> None:
    packet, taken = json_truth(JSON[name])
    assert taken / 2 < packet.memory < taken * 5


@pytest.mark.parametrize("name", FRUGAL)
def test_frugal_json_takes_less_than_is_said(name: str) -> None:
    packet, taken = json_truth(FRUGAL[name])
    assert taken / 2 < packet.memory < taken * 70


@pytest.mark.parametrize("name", MSGPACK)
def test_msgpack_takes_at_most_twice_what_is_said_and_at_least_a_fifth(name: str) -> None:
    payload = msgspec.msgpack.encode({"type": 2, "data": ["x", *MSGPACK[name]], "nsp": "/"})  # type: ignore[misc]  # all are lists
    packet, taken = truth(lambda: msgpack.Decoder(LIMITS, 1_000_000).binary(payload))
    assert taken / 2 < packet.memory < taken * 5


def test_attachments_count_as_they_come() -> None:
    decoder = socketio.Decoder(LIMITS, 1_000_000)
    text = b'52-["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'
    assert decoder.text(text) is None
    assert decoder.pending is not None
    assert decoder.pending.memory == json_memory(text)
    decoder.binary(bytes(1_000))
    assert decoder.pending.memory == json_memory(text) + 1_000 + PER_ATTACHMENT
    packet = decoder.binary(bytes(500))
    assert packet is not None
    assert packet.memory == json_memory(text) + 1_500 + 2 * PER_ATTACHMENT
