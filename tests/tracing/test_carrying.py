"""``traceparent`` and ``tracestate``: what is one, and that nothing else does anything."""

from __future__ import annotations

import logging
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import SpanContext, TraceFlags, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from trio_sio.tracing.carrying import carry, read

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"

GARBAGE = [
    "",
    "garbage",
    PARENT.upper(),
    PARENT[:-1],
    f"{PARENT}-",
    f"{PARENT}0",
    f"{PARENT}, {PARENT}",
    f"{PARENT}\n",
    f"ff-{TRACE}-{SPAN}-01",
    f"00-{'0' * 32}-{SPAN}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"00-{TRACE}-{SPAN}-0g",
    f"00-{TRACE}-{SPAN}-\N{ARABIC-INDIC DIGIT ZERO}1",
    f"01-{TRACE}-{SPAN}-01-{'x' * 10_000}",
    f"01-{TRACE}-{SPAN}-01-\ud800",
    "\x00" * 55,
]

NO_STATES = [
    "",
    ",",
    "a",
    "=b",
    "A=b",
    "a=",
    "a=b,,=",
    "a=b\ud800",
    "a@=1",
    f"a={'x' * 600}",
    ",".join(f"a{number}=b" for number in range(33)),
]


def test_a_span_is_read_and_carried_on() -> None:
    context = read({"traceparent": PARENT, "tracestate": "congo=t61rcWkgMzE, 1a-_*/@b=x y"})
    assert context is not None
    assert (f"{context.trace_id:032x}", f"{context.span_id:016x}", context.trace_flags, context.is_remote) == (TRACE, SPAN, 1, True)
    assert dict(context.trace_state) == {"congo": "t61rcWkgMzE", "1a-_*/@b": "x y"}
    assert carry(context) == {"traceparent": PARENT, "tracestate": "congo=t61rcWkgMzE,1a-_*/@b=x y"}


@pytest.mark.parametrize("parent", [f"cc-{TRACE}-{SPAN}-01", f"01-{TRACE}-{SPAN}-01-what comes later", f" {PARENT}\t"])
def test_later_versions_are_read_as_far_as_they_are_known(parent: str) -> None:
    context = read({"traceparent": parent})
    assert context is not None
    assert carry(context) == {"traceparent": PARENT}


def test_nothing_is_nothing() -> None:
    assert read({}) is None
    assert read({"tracestate": "a=b"}) is None


@pytest.mark.parametrize("parent", GARBAGE)
def test_garbage_is_refused(parent: str) -> None:
    with pytest.raises(ValueError):
        read({"traceparent": parent})


@pytest.mark.parametrize("state", NO_STATES)
def test_what_is_no_state_is_left_out(state: str, caplog: pytest.LogCaptureFixture) -> None:
    context = read({"traceparent": PARENT, "tracestate": state})
    assert context is not None
    assert not context.trace_state
    assert not caplog.records


def test_what_is_too_long_to_be_read_is_not_carried() -> None:
    state = TraceState([(f"a{number}", "x" * 30) for number in range(20)])
    assert [*carry(SpanContext(1, 2, False, TraceFlags(0), state))] == ["traceparent"]


def test_the_worst_is_over_at_once() -> None:
    started = time.perf_counter()
    for state in (f"a={' ' * 509}\x00", "a= ," * 128, "a@" * 256, f"a={'x ' * 250}\x00"):
        read({"traceparent": PARENT, "tracestate": state})
    with pytest.raises(ValueError):
        read({"traceparent": f"01-{TRACE}-{SPAN}-01-{' ' * 400}\x00"})
    assert time.perf_counter() - started < 0.5


@given(
    st.text(max_size=80) | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", fullmatch=True), st.text(max_size=80)
)
def test_what_is_read_is_what_opentelemetry_reads(parent: str, state: str) -> None:
    carried = {"traceparent": parent, "tracestate": state}
    logging.disable()
    try:
        theirs = TraceContextTextMapPropagator().extract(carried)
    finally:
        logging.disable(logging.NOTSET)
    try:
        context = read(carried)
    except ValueError:
        return
    (span,) = theirs.values()
    assert span.get_span_context() == context  # type: ignore[attr-defined]
