"""A broadcast and its deliveries on other servers are one trace."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from opentelemetry.trace import SpanKind, StatusCode

from tests.tracing.spans import Spans, ids, links, open_traced, server_of
from tests.tracing.test_carrying import GARBAGE
from trio_sio import Instrument, Route, RoutingTable, Server, Socket, on_message
from trio_sio.testing import InMemoryServer, LoopbackNetwork, open_test_server
from trio_sio.tracing import Tracing


class Controller:
    """Tells everybody."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket

    @on_message("join")
    async def join(self, room: str) -> None:
        await self.socket.join(room)

    @on_message("say")
    async def say(self, text: str) -> None:
        await self.socket.namespace.to("lobby").emit("said", text)

    @on_message("ask")
    async def ask(self) -> object:
        return await self.socket.namespace.emit_with_ack("question", timeout=5)


ROUTES = RoutingTable(Route("/", Controller))


@asynccontextmanager
async def two() -> AsyncIterator[tuple[tuple[InMemoryServer, InMemoryServer], tuple[Spans, Spans]]]:
    """Open two servers that know each other, and yield them and the spans of each."""
    network, spans = LoopbackNetwork(), (Spans(), Spans())
    with trio.fail_after(10):
        async with (
            open_traced(ROUTES, spans[0], cluster=network.cluster()) as (first, _),
            open_traced(ROUTES, spans[1], cluster=network.cluster()) as (second, _),
        ):
            await trio.testing.wait_all_tasks_blocked()
            yield (first, second), spans


@asynccontextmanager
async def one_of_two(*instruments: Instrument) -> AsyncIterator[tuple[InMemoryServer, InMemoryServer, Spans, Tracing]]:
    """Open two servers, of which the second is traced; the first has ``instruments``."""
    network, spans = LoopbackNetwork(), Spans()
    with trio.fail_after(10):
        async with (
            open_test_server(Server(ROUTES, cluster=network.cluster(), instruments=instruments)) as first,
            open_traced(ROUTES, spans, cluster=network.cluster()) as (second, tracing),
        ):
            await trio.testing.wait_all_tasks_blocked()
            yield first, second, spans, tracing


async def test_a_broadcast_goes_on_on_the_other_server() -> None:
    async with two() as ((first, second), (here, there)), first.strict_client() as ann, second.strict_client() as bob:
        await bob.emit_with_ack("join", "lobby")
        await ann.emit("say", "a secret")
        assert await bob.once("said") == ("a secret",)
        await trio.testing.wait_all_tasks_blocked()
        send, deliver, handler = here.one("send said"), there.one("deliver said"), here.one("process say")
        assert send.parent is not None
        assert (send.parent.trace_id, send.parent.span_id) == ids(handler)
        assert deliver.kind is SpanKind.CONSUMER
        assert links(deliver) == [ids(send)]
        assert deliver.parent is not None
        assert (deliver.parent.trace_id, deliver.parent.span_id) == ids(send)
        assert deliver.attributes == {
            "messaging.system": "socket.io",
            "messaging.operation.name": "deliver",
            "messaging.operation.type": "receive",
            "messaging.destination.name": "/",
            "messaging.batch.message_count": 1,
            "messaging.message.body.size": len('42["said","a secret"]'),
            "messaging.socket.io.namespace": "/",
            "messaging.socket.io.event_name": "said",
            "messaging.socket.io.rooms": ("lobby",),
        }
        assert send.attributes is not None
        assert send.attributes["messaging.batch.message_count"] == 0
        assert not there.all("send said")
        assert not any("secret" in span.to_json() for span in (*here, *there))


async def test_a_question_to_all_goes_on_on_the_other_server() -> None:
    async with two() as ((first, second), (here, there)), first.strict_client() as ann, second.strict_client() as bob:
        bob.on("question", lambda: "Fine.")
        ann.on("question", lambda: "Well.")
        assert sorted(await ann.emit_with_ack("ask")) == ["Fine.", "Well."]
        assert links(there.one("deliver question")) == [ids(here.one("ask question"))]
        assert not here.all("send question")


async def test_what_came_to_nothing_is_not_continued() -> None:
    async with two() as ((first, second), (here, there)), second.strict_client() as bob:
        for _ in range(20):
            with pytest.raises(TypeError):
                await server_of(first).emit("said", object())
        failed = here.all("send said")
        assert [(span.status.status_code, span.attributes and span.attributes["error.type"]) for span in failed] == [
            (StatusCode.ERROR, "EncodeError")
        ] * 20
        here.clear()
        await server_of(first).emit("said", 1)
        assert await bob.once("said") == (1,)
        await trio.testing.wait_all_tasks_blocked()
        assert links(there.one("deliver said")) == [ids(here.one("send said"))]


async def test_what_stays_on_this_server_does_not_go_on_as_that_does_because_of_which_it_is_emitted() -> None:
    async with two() as ((first, second), (here, there)), first.strict_client(), second.strict_client() as bob:
        (socket,) = server_of(first).of("/").sockets.values()

        def repeat(event: str, *args: object) -> None:
            if not args:
                server_of(first).local.emit_nowait(event, "here")

        socket.on_any_outgoing(repeat)
        await server_of(first).emit("said")
        assert await bob.once("said") == ()
        await trio.testing.wait_all_tasks_blocked()
        _, said = here.all("send said")  # which is over when what is emitted because of it is
        assert links(there.one("deliver said")) == [ids(said)]


async def test_what_is_emitted_because_of_what_is_emitted_has_a_span_of_its_own() -> None:
    async with two() as ((first, second), (here, there)), first.strict_client(), second.strict_client() as bob:
        (socket,) = server_of(first).of("/").sockets.values()

        def answer(event: str, *args: object) -> None:
            if event == "said":
                server_of(first).emit_nowait("heard")

        socket.on_any_outgoing(answer)
        await server_of(first).emit("said")
        assert await bob.once("said") == await bob.once("heard") == ()
        await trio.testing.wait_all_tasks_blocked()
        for event in ("said", "heard"):
            assert links(there.one(f"deliver {event}")) == [ids(here.one(f"send {event}"))]


class Liar(Instrument):
    """Says that its broadcasts belong to ``parent``."""

    parent = ""

    def inject(self, namespace: str, event: str) -> Mapping[str, str]:
        return {"traceparent": self.parent, "tracestate": "%" * 100}


@pytest.mark.hostile("T03")
async def test_what_another_server_makes_up_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    liar, garbage = Liar(), [text for text in GARBAGE if "\ud800" not in text and len(text) < 1_000]
    async with one_of_two(liar) as (first, second, spans, tracing), second.strict_client() as bob:
        for liar.parent in garbage:
            await server_of(first).emit("said")
            assert await bob.once("said") == ()
        await trio.testing.wait_all_tasks_blocked()
        made = spans.all("deliver said")
        assert len(made) == len(garbage)
        assert all(span.parent is None and not span.links for span in made)
    assert tracing.bad_contexts == len(garbage)
    assert not [record for record in caplog.records if record.levelname not in ("DEBUG", "INFO")]


async def test_a_server_that_does_not_trace_is_none_the_worse() -> None:
    async with one_of_two() as (first, second, spans, tracing), first.strict_client() as ann, second.strict_client() as bob:
        await server_of(second).emit("said", 1)
        assert await ann.once("said") == await bob.once("said") == (1,)
        await server_of(first).emit("heard", 2)
        assert await ann.once("heard") == await bob.once("heard") == (2,)
        await trio.testing.wait_all_tasks_blocked()
        deliver = spans.one("deliver heard")
        assert deliver.parent is None
        assert links(deliver) == []
    assert tracing.bad_contexts == 0
