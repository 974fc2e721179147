"""The query of a request is read as the standard library reads it, whichever way that is done."""

from __future__ import annotations

from urllib.parse import parse_qsl

from hypothesis import example, given
from hypothesis import strategies as st

from trio_sio.protocol.http import Headers, Request

queries = st.lists(
    st.sampled_from([b"a", b"sid", b"=", b"&", b"%41", b"%", b"+", b";", b"\xe4", b"%c3%a4", b"%ff", b"4"]), max_size=12
).map(b"".join)


@given(queries)
@example(b"EIO=4&transport=polling&t=abc&sid=0123456789")
@example(b"")
@example(b"&&a&=&=b&a=b=c&")
@example(b"a=b+c")
def test_a_query_is_read_as_the_standard_library_reads_it(query: bytes) -> None:
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="utf-8", errors="replace")
    request = Request("GET", "/", query, Headers())
    assert request.query_pairs == pairs
    assert request.query == dict(pairs)
