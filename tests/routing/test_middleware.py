"""The onion by itself."""

from __future__ import annotations

import functools
import logging
from typing import Any

import pytest

from trio_sio.concurrency.functions import name_of
from trio_sio.errors import RouteError
from trio_sio.routing import Context, Middleware, Next
from trio_sio.routing.middleware import Chain, layers_of

SOCKET: Any = None


def traced(name: str, trace: list[str]) -> Middleware:
    async def layer(ctx: Context, call_next: Next) -> object:
        trace.append(f"{name} in")
        result = await call_next()
        trace.append(f"{name} out")
        return f"{name}({result})"

    return layer


async def run(*layers: Middleware, result: object = 1) -> object:
    async def core() -> object:
        return result

    return await Chain(layers, set()).run(Context(SOCKET), core)


async def test_layers_nest_and_results_flow_outwards() -> None:
    trace: list[str] = []
    assert await run(traced("a", trace), traced("b", trace)) == "a(b(1))"
    assert trace == ["a in", "b in", "b out", "a out"]


async def test_without_layers_only_the_core_runs() -> None:
    assert await run() == 1


async def test_a_layer_that_does_not_go_on_answers_itself() -> None:
    trace: list[str] = []

    async def closed(ctx: Context, call_next: Next) -> object:
        return "no"

    assert await run(traced("a", trace), closed, traced("b", trace)) == "a(no)"
    assert trace == ["a in", "a out"]


@pytest.mark.parametrize("others", [0, 1])
async def test_going_on_twice_is_an_error_that_names_the_culprit(others: int) -> None:
    async def twice(ctx: Context, call_next: Next) -> object:
        await call_next()
        return await call_next()

    with pytest.raises(RuntimeError, match=r"call_next\(\) was called twice by twice"):
        await run(twice, *[traced("inner", [])] * others)


async def test_what_the_core_raises_passes_through_the_layers() -> None:
    async def seen(ctx: Context, call_next: Next) -> object:
        try:
            return await call_next()
        except KeyError as exc:
            return f"saw {exc}"

    async def core() -> object:
        raise KeyError("x")

    assert await Chain([seen], set()).run(Context(SOCKET), core) == "saw 'x'"


async def forgetful(ctx: Context, call_next: Next) -> None:
    await call_next()


async def test_a_lost_result_is_warned_about_once_per_middleware(caplog: pytest.LogCaptureFixture) -> None:
    async def core() -> object:
        return 1

    warned: set[int] = set()
    for _ in range(3):
        assert await Chain([forgetful], warned).run(Context(SOCKET), core) is None
        assert await Chain([traced("outer", []), forgetful], warned).run(Context(SOCKET), core) == "outer(None)"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "forgetful received a result" in record.getMessage()


async def test_there_is_no_warning_when_nothing_was_lost(caplog: pytest.LogCaptureFixture) -> None:
    async def replacing(ctx: Context, call_next: Next) -> object:
        await call_next()
        return 2

    assert await run(forgetful, result=None) is None
    assert await run(replacing) == 2
    assert not caplog.records


def test_state_belongs_to_one_delivery() -> None:
    first, second = Context(SOCKET), Context(SOCKET)
    first.state["user"] = 1
    assert first.state == {"user": 1}
    assert second.state == {}


def test_a_context_knows_whether_an_ack_is_wanted() -> None:
    assert Context(SOCKET, "e", (), 0).wants_ack
    assert not Context(SOCKET, "e").wants_ack


class Timing:
    async def __call__(self, ctx: Context, call_next: Next) -> object:
        return await call_next()


def test_names_are_those_that_the_author_wrote() -> None:
    assert name_of(forgetful) == "forgetful"
    assert name_of(functools.partial(functools.partial(forgetful), 1)) == "forgetful"
    assert name_of(Timing()) == "Timing"
    assert name_of(Timing().__call__) == "Timing.__call__"
    assert name_of(traced("a", [])) == "layer"


def test_layers_are_a_list() -> None:
    assert layers_of([forgetful]) == (forgetful,)
    given: Any = forgetful
    with pytest.raises(RouteError, match=r"write middleware=\[forgetful\]"):
        layers_of(given)
