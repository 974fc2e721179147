"""Parameters that the server fills in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from trio_sio.errors import RouteError
from trio_sio.namespaces.acks import Ack
from trio_sio.namespaces.socket import Socket
from trio_sio.routing import Context
from trio_sio.routing.binding import Binding
from trio_sio.server import Server

SOCKET: Any = SimpleNamespace(id="sid", server=object())


def make(function: Any, *, event: str | None = "e", hook_arguments: int = 0) -> Binding:
    return Binding(function, "C.handler", bound=False, event=event, hook_arguments=hook_arguments)


def test_injected_parameters_are_not_taken_from_the_message() -> None:
    def handler(socket: Socket, a: int, ctx: Context, b: str, server: Server) -> None: ...

    ctx = Context(SOCKET, "e", (1, "x"))
    assert make(handler).bind([1, "x"], SOCKET, ctx) == [SOCKET, 1, ctx, "x", SOCKET.server]


def test_defaults_before_an_injected_parameter_are_filled_in() -> None:
    def handler(a: int, b: int = 7, socket: Socket = None, *rest: int) -> None: ...  # type: ignore[assignment]

    binding = make(handler)
    assert binding.bind([1], SOCKET, None) == [1, 7, SOCKET]
    assert binding.bind([1, 2, 3, 4], SOCKET, None) == [1, 2, SOCKET, 3, 4]


def test_keyword_only_parameters_can_be_filled_in() -> None:
    def handler(a: int, *, ctx: Context, verbose: bool = False) -> None: ...

    binding, ctx = make(handler), Context(SOCKET, "e", (1,))
    assert binding.bind([1], SOCKET, ctx) == [1]
    assert binding.bind_keywords(SOCKET, ctx) == {"ctx": ctx}


def test_an_ack_is_the_same_object_for_everybody() -> None:
    def handler(ack: Ack, again: Ack) -> None: ...

    first, second = make(handler).bind([], SOCKET, Context(SOCKET, "e", (), 3))
    assert first is second
    assert first.wanted


@pytest.mark.parametrize(("annotation", "needed"), [(Socket, False), (Server, False), (Context, True), (Ack, True)])
def test_a_context_is_made_only_where_somebody_takes_it(annotation: type, needed: bool) -> None:
    def handler(it: Any) -> None: ...

    handler.__annotations__["it"] = annotation
    assert make(handler).needs_context is needed


def test_a_class_that_is_only_called_server_is_an_argument() -> None:
    class Server:
        pass

    def handler(server: Any) -> None: ...

    handler.__annotations__["server"] = Server
    with pytest.raises(RouteError, match=r"cannot be converted to .*Server"):
        make(handler)


def test_a_hook_need_not_take_the_reason() -> None:
    def nothing() -> None: ...
    def only_socket(socket: Socket) -> None: ...
    def both(reason: str, socket: Socket) -> None: ...
    def optional(socket: Socket, reason: str = "", more: int = 7) -> None: ...

    results = [
        make(hook, event=None, hook_arguments=1).bind_hook(("gone",), SOCKET, Context(SOCKET))
        for hook in (nothing, only_socket, both, optional)
    ]
    assert results == [[], [SOCKET], ["gone", SOCKET], [SOCKET, "gone", 7]]
