"""Where a trace comes from and goes on: ``traceparent`` and ``tracestate``, as strings that somebody else has made.

W3C Trace Context (https://www.w3.org/TR/trace-context/). OpenTelemetry's own propagator logs what it does not like in the words
of the client, for each connection; this one says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from opentelemetry.trace import SpanContext, TraceFlags, TraceState

__all__ = ["PARENT", "STATE", "carry", "read"]

PARENT: Final = "traceparent"
STATE: Final = "tracestate"

_MOST: Final = 512  # characters, of either

# Later versions may say more behind the flags.
_PARENT: Final = re.compile(r"[ \t]*(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[ -~]*)?[ \t]*", re.ASCII)
_KEY: Final = r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
_MEMBER: Final = rf"[ \t]*{_KEY}=[ -+\--<>-~]{{0,255}}[!-+\--<>-~][ \t]*"
_STATE: Final = re.compile(rf"{_MEMBER}(?:,{_MEMBER}){{0,31}}", re.ASCII)


def read(carried: Mapping[str, str]) -> SpanContext | None:
    """Return the span that is carried, or ``None`` if there is none.

    Raises:
      ValueError: if there is something else instead. A ``tracestate`` that is none is as good as absent.
    """
    parent = carried.get(PARENT)
    if parent is None:
        return None
    match = _PARENT.fullmatch(parent) if len(parent) <= _MOST else None
    if match is None or (match[1] == "00" and match[5] is not None):
        raise ValueError
    state = carried.get(STATE, "")
    is_state = len(state) <= _MOST and _STATE.fullmatch(state) is not None
    context = SpanContext(
        trace_id=int(match[2], 16),
        span_id=int(match[3], 16),
        is_remote=True,
        trace_flags=TraceFlags(int(match[4], 16)),
        trace_state=TraceState.from_header([state]) if is_state else None,
    )
    if not context.is_valid:
        raise ValueError
    return context


def carry(context: SpanContext) -> dict[str, str]:
    """Return ``context`` as what `read` reads."""
    carried = {PARENT: f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"}
    state = context.trace_state.to_header()
    return carried | {STATE: state} if 0 < len(state) <= _MOST else carried
