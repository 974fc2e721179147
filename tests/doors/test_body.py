"""Bodies in chunks: what we take h11 takes, and it finds the same body and the same end; we take less."""

from __future__ import annotations

import itertools

import h11
from hypothesis import example, given
from hypothesis import strategies as st

from trio_sio import Limits
from trio_sio.doors.native.body import Body
from trio_sio.doors.native.faults import RequestFault

NEXT = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"

EXTENSIONS = st.sampled_from([b"", b" ", b";", b";a=b", b'; a="b;c"', b";\xfc\t"])
CHUNKS = st.lists(st.tuples(st.binary(min_size=1, max_size=40), EXTENSIONS), max_size=5)
TRAILERS = st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC:\r\n"])


def ours(stream: bytes, cuts: list[int]) -> tuple[bytes, bytes] | None:
    """Return the body and what is left behind it; ``None`` if it is not valid or not whole."""
    body, buffer, reader = b"", bytearray(), Body(None, Limits())
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    for start, stop in itertools.pairwise(edges):
        buffer += stream[start:stop]
        try:
            while data := reader.take(buffer):
                body += data
        except RequestFault:
            return None
        if data is None:
            rest = bytes(buffer) + stream[stop:]
            assert reader.taken == len(stream) - len(rest)
            return body, rest
    return None


def theirs(stream: bytes) -> tuple[bytes, bytes] | None:
    parser = h11.Connection(h11.SERVER)
    parser.receive_data(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + stream)
    body = b""
    try:
        while True:
            event = parser.next_event()
            if isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return body, parser.trailing_data[0]
            elif event is h11.NEED_DATA:
                return None
    except h11.RemoteProtocolError:
        return None


def encoded(chunks: list[tuple[bytes, bytes]], trailers: bytes) -> bytes:
    parts = [b"%x%b\r\n%b\r\n" % (len(data), extension, data) for data, extension in chunks]
    return b"".join(parts) + b"0\r\n" + trailers + b"\r\n" + NEXT


@given(CHUNKS, TRAILERS, st.lists(st.integers(0, 1_000), max_size=8))
def test_what_is_valid_is_taken_however_it_is_cut(chunks: list[tuple[bytes, bytes]], trailers: bytes, cuts: list[int]) -> None:
    stream = encoded(chunks, trailers)
    assert ours(stream, cuts) == theirs(stream) == (b"".join(data for data, _ in chunks), NEXT)


@given(
    CHUNKS,
    TRAILERS,
    st.lists(st.integers(0, 1_000), max_size=4),
    st.integers(0, 1_000),
    st.sampled_from([b"\r", b"\n", b"\0", b"0", b" ", b";", b""]),
)
@example([(b"a", b";a")], b"", [], 2, b"\r")
def test_what_is_taken_in_spite_of_a_fault_is_what_h11_takes(
    chunks: list[tuple[bytes, bytes]], trailers: bytes, cuts: list[int], where: int, fault: bytes
) -> None:
    stream = encoded(chunks, trailers)
    where %= len(stream) - len(NEXT)
    stream = stream[:where] + fault + stream[where + (fault == b"") :]
    if (taken := ours(stream, cuts)) is not None:
        assert taken == theirs(stream)


@given(st.binary(max_size=100), st.integers(0, 100))
def test_a_declared_length_is_taken_and_no_more(data: bytes, length: int) -> None:
    buffer, reader, body = bytearray(data), Body(length, Limits()), b""
    while taken := reader.take(buffer):
        body += taken
    assert (body, bytes(buffer)) == (data[:length], data[length:])
    assert (taken is None) is (len(data) >= length)
    assert reader.taken == len(body)
