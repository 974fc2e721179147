"""A head that is read without h11 is what h11 makes of it; whatever is not plain goes to h11."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_sio import Limits
from trio_sio.doors.native.faults import RequestFault
from trio_sio.doors.native.head import Head, HeadReader, HeadScanner, _read, _read_plain

LIMITS = Limits(header_bytes=100_000)

POLL = (
    b"GET /socket.io/?EIO=4&transport=polling&t=abc&sid=0123456789 HTTP/1.1\r\nHost: localhost:3000\r\nConnection: keep-alive\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) Chrome/129.0.0.0\r\nAccept: */*\r\nAccept-Language: en;q=0.9\r\n\r\n"
)
POST = b"POST /socket.io/?EIO=4 HTTP/1.1\r\nhost: a\r\nContent-type:text/plain;charset=UTF-8\r\nContent-Length: 20\r\nEmpty:\r\n\r\n"
WEBSOCKET = b"GET /socket.io/ HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, \t Upgrade \t\r\n\r\n"


@pytest.mark.parametrize("head", [POLL, POST, WEBSOCKET], ids=["poll", "post", "websocket"])
def test_what_clients_send_is_plain(head: bytes) -> None:
    assert _read_plain(head) == _read(head, LIMITS)


def with_fields(*fields: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


# One after the other, what could be read in two ways, or what h11 refuses.
NOT_PLAIN = {
    "no host": with_fields(b"A: b"),
    "no field": with_fields(),
    "two hosts": with_fields(b"Host: a", b"host: a"),
    "two lengths": with_fields(b"Host: a", b"Content-Length: 5", b"content-length: 5"),
    "two lengths in one": with_fields(b"Host: a", b"Content-Length: 5, 5"),
    "no length": with_fields(b"Host: a", b"Content-Length: "),
    "a long length": with_fields(b"Host: a", b"Content-Length: " + b"1" * 21),
    "a signed length": with_fields(b"Host: a", b"Content-Length: +5"),
    "chunks": with_fields(b"Host: a", b"Transfer-Encoding: Chunked"),
    "chunks and a length": with_fields(b"Host: a", b"Transfer-Encoding: chunked", b"Content-Length: 5"),
    "a folded line": with_fields(b"Host: a", b"B: c", b" d: e"),
    "a space before the colon": with_fields(b"Host: a", b"B : c"),
    "no name": with_fields(b"Host: a", b": c"),
    "no colon": with_fields(b"Host: a", b"bc"),
    "a control character": with_fields(b"Host: a", b"B: c\x01d"),
    "a zero": with_fields(b"Host: a", b"B: c\x00d"),
    "a carriage return": with_fields(b"Host: a", b"B: c\rd: e"),
    "a line feed": with_fields(b"Host: a", b"B: c\nd: e"),
    "beyond ASCII": with_fields(b"Host: a", b"B: \xe4"),
    "another method": b"PUT / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a method in lower case": b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
    "version 1.0": b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
    "version 2.0": b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "no target": b"GET  HTTP/1.1\r\nHost: a\r\n\r\n",
    "a target beyond ASCII": b"GET /\xe4 HTTP/1.1\r\nHost: a\r\n\r\n",
    "an empty line before it": b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "more behind it": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n",
    "another request behind it": with_fields(b"Host: a") * 2,
    "no end": b"GET / HTTP/1.1\r\nHost: a\r\n",
}


@pytest.mark.parametrize("head", NOT_PLAIN.values(), ids=NOT_PLAIN.keys())
def test_what_is_not_plain_is_not_read(head: bytes) -> None:
    assert _read_plain(head) is None


@pytest.mark.parametrize("padded", [b"Content-Length: 5 ", b"Content-Length: 5\t"])
def test_a_plain_head_is_under_the_rules_on_which_h11_is_lenient(padded: bytes) -> None:
    head = with_fields(b"Host: a", padded)
    assert _read_plain(head) is not None
    with pytest.raises(RequestFault, match="Content-Length must be given once"):
        HeadReader(LIMITS, address=None, secure=False).read(head)


names = st.sampled_from([b"host", b"Content-Length", b"content-length", b"Transfer-Encoding", b"Connection", b"Cookie", b"X_a!"])
values = st.sampled_from([b"", b"a", b"5", b"007", b"5, 5", b"chunked", b"keep-alive, Upgrade", b"a=b; c", b"\t d \t e ", b"::"])
fields = st.lists(st.builds(lambda name, value: name + b": " + value + b"\r\n", names, values), max_size=3).map(b"".join)
requests = st.sampled_from([b"GET / HTTP/1.1\r\n", b"POST /socket.io/?EIO=4&t=~ HTTP/1.1\r\n", b"GET http://a/# HTTP/1.1\r\n"])
plain_heads: st.SearchStrategy[bytes] = st.builds(
    lambda request, first, more: request + first + b"Host: a\r\n" + more + b"\r\n", requests, fields, fields
)
strange = st.one_of(
    st.binary(max_size=2),
    st.sampled_from([b"\r\n", b"\r", b"\n", b" ", b"\t", b":", b",", b"\r\n ", b"\x0b", b"\x85", b"\xa0", b"\r\n\r\n"]),
)


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """A plain head, or nearly: something may stand in the place of a few of its bytes."""
    head: bytes = draw(plain_heads)
    if draw(st.booleans()):
        start = draw(st.integers(0, len(head)))
        head = head[:start] + draw(strange) + head[start + draw(st.integers(0, 2)) :]
    return head


@given(heads())
@example(POLL)
@example(POST)
def test_a_head_that_is_read_without_h11_is_what_h11_makes_of_it(head: bytes) -> None:
    plain = _read_plain(head)
    assert plain is None or plain == _read(head, LIMITS)


class LineByLine(HeadScanner):
    def _is_regular(self, buffer: bytearray, size: int) -> bool:
        return False


def found(scanner: HeadScanner, head: bytes) -> tuple[object, bytes]:
    """Return where a head ends, or what is wrong with it, and what is left of what came."""
    buffer = bytearray(head)
    try:
        return scanner.find(buffer), bytes(buffer)
    except RequestFault as fault:
        return (fault.response.status, str(fault)), bytes(buffer)


@given(heads())
@example(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
@example(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nA: a\r\nB: b\r\nC: c\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nA: a\r\nB: b\r\nC: c\r\nD: d\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nA:\n\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: " + b"a" * 94 + b"\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: " + b"a" * 95 + b"\r\n\r\n")
def test_a_head_that_is_looked_at_as_a_whole_ends_where_it_ends_line_by_line(head: bytes) -> None:
    limits = Limits(header_bytes=120, headers=3)
    assert found(HeadScanner(limits), head) == found(LineByLine(limits), head)


@given(st.lists(heads(), min_size=2, max_size=6))
@example([POLL, POLL.replace(b"abc", b"def"), POST, POLL])
@example([POST, POST.replace(b" /", b" http://a/")])
@example([POLL, POLL.replace(b"1.1", b"1.0"), POLL.replace(b"GET", b"PUT")])
def test_what_a_head_means_does_not_depend_on_those_before_it(heads: list[bytes]) -> None:
    def read(reader: HeadReader, head: bytes) -> Head | tuple[int, str]:
        try:
            return reader.read(head)
        except RequestFault as fault:
            return fault.response.status, str(fault)

    reader = HeadReader(LIMITS, address="192.0.2.1", secure=True)
    for head in heads * 2:
        assert read(reader, head) == read(HeadReader(LIMITS, address="192.0.2.1", secure=True), head)


def test_fields_that_come_again_are_not_read_again() -> None:
    reader = HeadReader(LIMITS, address=None, secure=False)
    get, post = reader.read(POLL), reader.read(POST)
    for _ in range(2):
        assert reader.read(POLL.replace(b"t=abc", b"t=def")).request.headers is get.request.headers
        assert reader.read(POST).request.headers is post.request.headers
    reader.read(POLL.replace(b"*/*", b"text/plain"))
    assert reader.read(POLL).request.headers is not get.request.headers  # no more are kept than one client needs


def test_a_connection_that_waits_does_not_hold_on_to_large_fields() -> None:
    reader = HeadReader(Limits(), address=None, secure=False)
    large = POLL.replace(b"\r\n\r\n", b"\r\nCookie: " + b"x" * 3_000 + b"\r\n\r\n")
    assert reader.read(large).request.headers is not reader.read(large).request.headers
