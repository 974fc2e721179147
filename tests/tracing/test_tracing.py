"""Spans of one server: what they are called, what they say, what belongs below what."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from tests.conftest import ROOT
from tests.tracing.spans import Spans, ids, links, open_traced, server_of
from tests.tracing.test_carrying import GARBAGE, PARENT, SPAN, TRACE
from trio_sio import (
    BadMessage,
    ConnectionRefused,
    Context,
    Next,
    Route,
    RoutingTable,
    Server,
    Socket,
    broadcasts,
    on_any_message,
    on_connection,
    on_disconnection,
    on_message,
)
from trio_sio.testing import open_test_server
from trio_sio.tracing import Tracing

TRACER = trace.get_tracer("tests")


class Controller:
    """What it does is to be seen in spans."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket

    @on_connection
    async def joined(self) -> None:
        if "slow" in self.socket.handshake.auth:
            await trio.sleep_forever()

    @on_disconnection
    async def left(self) -> None:
        await self.socket.broadcast.emit("left")

    @on_message("echo")
    async def echo(self, value: object = None) -> object:
        return value

    @on_message("beside", concurrent=True)
    async def beside(self) -> None: ...

    @on_message("fail")
    async def fail(self) -> None:
        raise ZeroDivisionError("a secret")

    @on_message("refuse")
    async def refuse(self) -> None:
        raise BadMessage("a secret")

    @on_message("number")
    def number(self, value: int) -> None: ...

    @on_message("wait")
    async def wait(self) -> None:
        await trio.sleep_forever()

    @on_message("answer")
    async def answer(self) -> None:
        await self.socket.join(*(f"room-{number}" for number in range(10)))
        await self.socket.emit("answered", "a secret")
        await self.socket.namespace.to(*(f"room-{number}" for number in range(10))).emit("told", "a secret")
        self.socket.broadcast.local.emit_nowait("told others")

    @on_message("say")
    @broadcasts("said")
    async def say(self, text: str) -> str:
        return text

    @on_message("ask")
    async def ask(self, timeout: float) -> object:
        try:
            return await self.socket.emit_with_ack("question", "a secret", timeout=timeout)
        except trio.TooSlowError:
            return "too slow"

    @on_message("ask all")
    async def ask_all(self) -> object:
        return await self.socket.namespace.emit_with_ack("question", timeout=5)


@pytest.fixture
def spans() -> Spans:
    return Spans()


def status(span: ReadableSpan) -> tuple[StatusCode, str | None, object]:
    assert span.attributes is not None
    return span.status.status_code, span.status.description, span.attributes.get("error.type")


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    assert span.attributes is not None
    return span.attributes


ROUTES = RoutingTable(Route("/chat", Controller))


async def test_an_event_is_a_span(spans: Spans) -> None:
    async with open_traced(ROUTES, spans) as (server, _), server.strict_client("/chat") as client:
        assert await client.emit_with_ack("echo", "a secret") == "a secret"
        span, connect = spans.one("process echo"), spans.one("connect /chat")
        assert span.kind is SpanKind.CONSUMER
        assert span.parent is None
        assert links(span) == [ids(connect)]
        assert ids(span)[0] != ids(connect)[0]
        assert attributes(span) == {
            "messaging.system": "socket.io",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": "/chat",
            "messaging.client.id": client.id,
            "messaging.socket.io.namespace": "/chat",
            "messaging.socket.io.event_name": "echo",
            "messaging.socket.io.outcome": "ok",
        }
        assert connect.kind is SpanKind.SERVER
        assert connect.parent is None
        assert status(connect) == (StatusCode.UNSET, None, None)
        assert attributes(connect) == {
            "messaging.system": "socket.io",
            "messaging.operation.name": "connect",
            "messaging.destination.name": "/chat",
            "messaging.client.id": client.id,
            "messaging.socket.io.namespace": "/chat",
        }
    (left,), gone = spans.all("disconnect /chat"), spans.one("send left")
    assert links(left) == [ids(connect)]
    assert attributes(left)["messaging.socket.io.reason"] == "transport close"
    assert gone.parent is not None
    assert gone.parent.span_id == ids(left)[1]


@pytest.mark.parametrize(
    ("event", "args", "outcome", "expected"),
    [
        ("fail", [], "failed", (StatusCode.ERROR, None, "ZeroDivisionError")),
        ("refuse", [], "refused", (StatusCode.UNSET, None, "BadMessage")),
        ("number", ["a secret"], "refused", (StatusCode.UNSET, None, "BadMessage")),
    ],
)
async def test_what_is_raised_is_named_and_not_quoted(
    spans: Spans, event: str, args: list[object], outcome: str, expected: tuple[object, ...]
) -> None:
    async with open_traced(ROUTES, spans) as (server, _), server.strict_client("/chat") as client:
        assert (await client.emit_with_ack(event, *args))["status"] == "error"
        span = spans.one(f"process {event}")
    assert attributes(span)["messaging.socket.io.outcome"] == outcome
    assert status(span) == expected
    assert not span.events
    assert not any("secret" in span.to_json() for span in spans)


async def test_whoever_goes_is_not_an_error(spans: Spans, autojump_clock: object) -> None:
    async with open_traced(ROUTES, spans) as (server, _):
        async with server.strict_client("/chat") as client:
            await client.emit("wait")
        await trio.sleep(2 * server.server.config.cleanup_timeout)
        span = spans.one("process wait")
    assert attributes(span)["messaging.socket.io.outcome"] == "cancelled"
    assert status(span) == (StatusCode.UNSET, None, None)


async def test_what_is_emitted_is_below_the_handler(spans: Spans) -> None:
    async with open_traced(ROUTES, spans) as (server, _), server.strict_client("/chat") as client:
        await client.emit_with_ack("answer")
        handler, answered, told = spans.one("process answer"), spans.one("send answered"), spans.one("send told")
        for span in (answered, told, spans.one("send told others")):
            assert span.kind is SpanKind.PRODUCER
            assert span.parent is not None
            assert (span.parent.trace_id, span.parent.span_id) == ids(handler)
        assert attributes(answered) == {
            "messaging.system": "socket.io",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": "/chat",
            "messaging.client.id": client.id,
            "messaging.message.body.size": len('42/chat,["answered","a secret"]'),
            "messaging.socket.io.namespace": "/chat",
            "messaging.socket.io.event_name": "answered",
        }
        assert attributes(told)["messaging.batch.message_count"] == 1
        assert attributes(told)["messaging.socket.io.rooms"] == tuple(f"room-{number}" for number in range(8))
        assert not any("secret" in span.to_json() for span in spans)


async def test_each_event_has_one_span_for_what_it_sends(spans: Spans) -> None:
    async with open_traced(ROUTES, spans) as (server, _), server.strict_client("/chat") as client:
        await client.emit_with_ack("say", "Hello")
        assert sorted(spans.names()) == ["connect /chat", "process say", "send said"]


@pytest.mark.parametrize(("event", "timeout"), [("ask", [5]), ("ask all", [])])
async def test_a_question_is_a_span_until_it_is_answered(spans: Spans, event: str, timeout: list[float]) -> None:
    async with open_traced(ROUTES, spans) as (server, _), server.strict_client("/chat") as client:
        asked: list[list[str]] = []

        def answer(*args: object) -> str:
            asked.append(spans.names())
            return "Fine."

        client.on("question", answer)
        assert await client.emit_with_ack(event, *timeout) == ("Fine." if timeout else ["Fine."])
        assert asked == [["connect /chat"]]
        span, handler = spans.one("ask question"), spans.one(f"process {event}")
        assert span.kind is SpanKind.PRODUCER
        assert span.parent is not None
        assert span.parent.span_id == ids(handler)[1]
        assert attributes(span)["messaging.socket.io.outcome"] == "answered"
        assert attributes(span)["messaging.operation.name"] == "ask"
        assert attributes(span)["messaging.message.body.size"] > 10
        assert attributes(span).get("messaging.client.id") == (client.id if timeout else None)
        assert status(span) == (StatusCode.UNSET, None, None)
        assert not [name for name in spans.names() if name.startswith("send")]


async def test_a_question_that_nobody_answers_is_an_error(spans: Spans, autojump_clock: object) -> None:
    async with open_traced(ROUTES, spans) as (server, _), server.strict_client("/chat") as client:
        assert await client.emit_with_ack("ask", 2) == "too slow"
        span = spans.one("ask question")
    assert attributes(span)["messaging.socket.io.outcome"] == "timeout"
    assert status(span) == (StatusCode.ERROR, None, "timeout")


class Starter:
    """Each of its handlers makes a span of the application's, somewhere."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket

    async def work(self) -> None:
        await trio.lowlevel.checkpoint()
        TRACER.start_span("work").end()

    @on_connection
    async def here(self) -> None:
        await self.work()

    @on_message("here")
    async def here_too(self) -> None:
        await self.work()

    @on_message("concurrent", concurrent=True)
    async def concurrent(self) -> None:
        await self.work()

    @on_message("kept", cancel_on_disconnect=False)
    async def kept(self) -> None:
        await self.work()

    @on_message("started")
    async def started(self) -> None:
        self.socket.start_soon(self.work)

    @on_message("owned")
    async def owned(self) -> None:
        self.socket.server.start_soon(self.work)

    @on_message("children")
    async def children(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.work)
            nursery.start_soon(trio.lowlevel.checkpoint)

    @on_message("thread")
    async def thread(self) -> None:
        await trio.to_thread.run_sync(lambda: TRACER.start_span("work").end())


@pytest.fixture
def tracer(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what this module makes itself be among ``spans``."""
    monkeypatch.setattr(sys.modules[__name__], "TRACER", spans.provider.get_tracer("tests"))


async def middleware(ctx: Context, call_next: Next) -> object:
    TRACER.start_span("middleware").end()
    return await call_next()


@pytest.mark.usefixtures("tracer")
@pytest.mark.parametrize("event", ["here", "concurrent", "kept", "started", "owned", "children", "thread"])
async def test_what_a_handler_does_and_starts_is_below_it(spans: Spans, event: str) -> None:
    routes = RoutingTable(Route("/", Starter), message_middleware=[middleware], connection_middleware=[middleware])
    with TRACER.start_as_current_span("whoever serves"):
        async with open_traced(routes, spans) as (server, _), server.strict_client() as client:
            connect = spans.one("connect /")
            assert connect.parent is None
            assert [span.parent.span_id for span in spans if span.parent is not None] == [ids(connect)[1]] * 2
            spans.clear()
            await client.emit_with_ack(event)
            await trio.testing.wait_all_tasks_blocked()
            handler = spans.one(f"process {event}")
            assert handler.parent is None
            below = [spans.one("work"), spans.one("middleware")]
            assert all(span.parent is not None and (span.parent.trace_id, span.parent.span_id) == ids(handler) for span in below)


@pytest.mark.usefixtures("tracer")
@pytest.mark.parametrize("event", ["here", "concurrent", "kept"])
async def test_middleware_of_the_socket_is_within_the_span_of_the_event(spans: Spans, event: str) -> None:
    async with open_traced(RoutingTable(Route("/", Starter)), spans) as (server, _), server.strict_client() as client:
        (socket,) = server_of(server).of("/").sockets.values()

        async def around(args: object, call_next: Any) -> object:
            TRACER.start_span("around").end()
            return await call_next()

        socket.use(around)
        spans.clear()
        await client.emit_with_ack(event)
        await trio.testing.wait_all_tasks_blocked()
        handler = spans.one(f"process {event}")
        assert attributes(handler)["messaging.socket.io.outcome"] == "ok"
        assert all(span.parent is not None and span.parent.span_id == ids(handler)[1] for span in (spans.one("around"), spans.one("work")))


@pytest.mark.parametrize("event", ["echo", "beside"])
async def test_the_span_of_an_event_that_middleware_has_renamed_ends(spans: Spans, event: str) -> None:
    async with open_traced(ROUTES, spans) as (server, _), server.strict_client("/chat") as client:
        (socket,) = server_of(server).of("/chat").sockets.values()

        async def rename(changed: list[object], call_next: Any) -> None:
            changed[0] = event
            await call_next()

        socket.use(rename)
        spans.clear()
        await client.emit_with_ack("number")
        await trio.testing.wait_all_tasks_blocked()
        assert spans.names() == ["process number"]


async def test_the_client_may_say_where_its_connection_belongs(spans: Spans) -> None:
    headers = {"traceparent": PARENT, "tracestate": "a=b", "baggage": "user=me"}
    async with open_traced(ROUTES, spans) as (server, tracing), server.strict_client("/chat", headers=headers) as client:
        await client.emit_with_ack("echo")
        connect, span = spans.one("connect /chat"), spans.one("process echo")
        assert connect.parent is not None
        assert (f"{connect.parent.trace_id:032x}", f"{connect.parent.span_id:016x}") == (TRACE, SPAN)
        assert dict(connect.parent.trace_state) == {"a": "b"}
        assert span.parent is None
        assert links(span) == [ids(connect)]
    assert tracing.bad_contexts == 0


@pytest.mark.hostile("T01")
@pytest.mark.parametrize("parent", [text for text in GARBAGE if re.fullmatch("[!-~][ -~]*", text)])
async def test_a_trace_header_that_is_garbage_is_counted(spans: Spans, parent: str, caplog: pytest.LogCaptureFixture) -> None:
    headers = {"traceparent": parent, "tracestate": "%=" * 100}
    async with open_traced(ROUTES, spans) as (server, tracing), server.strict_client("/chat", headers=headers) as client:
        assert await client.emit_with_ack("echo", 1) == 1
        assert spans.one("connect /chat").parent is None
    assert tracing.bad_contexts == 1
    assert not [record for record in caplog.records if record.levelname != "DEBUG"]


@pytest.mark.hostile("T02")
async def test_no_client_names_a_span(spans: Spans) -> None:
    async with open_traced(ROUTES, spans) as (server, _), server.strict_client("/chat") as client:
        for number in range(200):
            await client.emit(f"{number}" * 100)
        assert (await client.emit_with_ack("\u202e\x1b\ud800\n" + "x" * 10_000))["status"] == "error"
        made = spans.all("process other")
        assert len(made) == 201
        assert all(len(str(attributes(span)["messaging.socket.io.event_name"])) <= 128 for span in made)
        assert str(attributes(made[-1])["messaging.socket.io.event_name"]).startswith("\ufffd\ufffd\ufffd\ufffdxxx")
        assert attributes(made[-1])["messaging.socket.io.outcome"] == "unknown"
        assert set(spans.names()) == {"connect /chat", "process other"}
        assert all(json.loads(span.to_json()) for span in spans)


async def test_a_namespace_by_pattern_is_named_by_it_and_events_that_anybody_handles_are_others(spans: Spans) -> None:
    class Any:
        @on_message("known")
        def known(self) -> None: ...

        @on_any_message
        def rest(self, event: str) -> None: ...

    routes = RoutingTable(Route(re.compile("/room-[a-z]+"), Any))
    async with open_traced(routes, spans) as (server, _), server.strict_client("/room-tea") as client:
        await client.emit("known")
        await client.emit("unknown")
        await trio.testing.wait_all_tasks_blocked()
        assert spans.names() == ["connect /room-[a-z]+", "process known", "process other"]
        assert attributes(spans.one("process other"))["messaging.destination.name"] == "/room-tea"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionRefused("a secret"), (StatusCode.UNSET, None, "ConnectionRefused")),
        (KeyError("a secret"), (StatusCode.ERROR, None, "KeyError")),
        (ExceptionGroup("a secret", [ConnectionRefused("a secret")]), (StatusCode.UNSET, None, "ConnectionRefused")),
    ],
)
async def test_who_is_not_let_in_is_a_span_too(spans: Spans, error: Exception, expected: tuple[object, ...]) -> None:
    async def refuse(ctx: Context, call_next: Next) -> object:
        raise error

    async with open_traced(RoutingTable(Route("/chat", Controller, middleware=[refuse])), spans) as (server, _):
        with pytest.raises(ConnectionRefused):
            async with server.strict_client("/chat"):
                pass
        assert status(spans.one("connect /chat")) == expected
    assert "secret" not in spans.one("connect /chat").to_json()


async def test_without_an_sdk_nothing_happens() -> None:
    server = Server(ROUTES)
    tracing = Tracing(server)
    async with open_test_server(server) as running, running.strict_client("/chat") as client:
        assert await client.emit_with_ack("echo", 1) == 1
        assert tracing.inject("/chat", "x") is None


async def test_it_has_to_be_there_before_the_server_runs() -> None:
    server = Server(ROUTES)
    async with open_test_server(server):
        with pytest.raises(RuntimeError):
            Tracing(server)


@pytest.mark.parametrize("module", ["opentelemetry", "opentelemetry.trace"])
def test_without_opentelemetry_a_sentence_says_what_to_do(module: str) -> None:
    code = f"import sys; sys.modules[{module!r}] = None; import trio_sio.tracing"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ran.stderr.splitlines()[-1] == "ImportError: Tracing needs opentelemetry-api; install it with `pip install 'trio-sio[tracing]'`"


def test_the_program_of_the_documentation_prints_its_spans(tmp_path: Path) -> None:
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n# traced\.py\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "traced.py").write_text(block)
    (tmp_path / "main.py").write_text(
        "import trio\n"
        "from traced import make_server\n"
        "from trio_sio.testing import open_test_server\n"
        "async def main():\n"
        "    async with open_test_server(make_server()) as server, server.client('/desk') as client:\n"
        "        assert await client.emit_with_ack('ask', 'Is it there?') == 'Yes.'\n"
        "trio.run(main)\n"
    )
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "main.py"], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert ran.stderr == ""
    names = re.findall(r'^    "name": "(.*)",$', ran.stdout, re.MULTILINE)
    assert names == ["connect /desk", "look it up", "process ask", "disconnect /desk"]
    handler, below = (
        re.search(rf'"name": "{name}".*?"trace_id": "(\w+)"', ran.stdout, re.DOTALL) for name in ("process ask", "look it up")
    )
    assert handler is not None
    assert below is not None
    assert handler[1] == below[1]


def test_at_run_time_the_sdk_is_not_needed() -> None:
    code = "import sys, trio_sio.tracing; print(any(name.startswith('opentelemetry.sdk') for name in sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout.strip() == "False"
