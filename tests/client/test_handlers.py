"""Which functions run for an event, and with which arguments."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from trio_sio.client.handlers import Handlers
from trio_sio.errors import ConfigurationError


async def call(handlers: Handlers, event: str, *args: object) -> list[object]:
    return [await handler(*arguments) for handler, arguments in handlers.of(event, args)]


async def test_those_for_everything_come_first_and_see_the_name() -> None:
    handlers = Handlers()
    handlers.add("a", lambda x: ("first", x))
    handlers.add(None, lambda event, x: ("any", event, x))
    handlers.add("a", lambda x: ("second", x))

    assert handlers.has("b")
    assert await call(handlers, "a", 1) == [("any", "a", 1), ("first", 1), ("second", 1)]


async def test_async_functions_are_awaited() -> None:
    handlers = Handlers()

    async def handle(x: int) -> int:
        return x + 1

    handlers.add("a", handle)

    assert await call(handlers, "a", 1) == [2]


class Controller:
    """Has a handler that is a method."""

    def handle(self, x: int, y: int = 5) -> tuple[int, int]:
        return x, y


@pytest.mark.parametrize(
    ("function", "result"),
    [
        (lambda: "none", "none"),
        (lambda x: x, 1),
        (lambda x, y: (x, y), (1, 2)),
        (lambda *args: args, (1, 2, "offset")),
        (lambda x, *args: args, (2, "offset")),
        (lambda x, *, keyword=None: (x, keyword), (1, None)),
        (Controller().handle, (1, 2)),
        (max, "offset"),
    ],
)
async def test_arguments_that_a_function_does_not_take_are_dropped(function: Callable[..., object], result: object) -> None:
    handlers = Handlers()
    handlers.add("a", function)

    arguments = ("a", "b", "offset") if function is max else (1, 2, "offset")
    assert await call(handlers, "a", *arguments) == [result]


def test_removing() -> None:
    handlers = Handlers()
    controller = Controller()
    handlers.add("a", controller.handle)
    handlers.add("a", print)
    handlers.add(None, print)

    handlers.remove("a", controller.handle)
    handlers.remove("a", len)
    assert [handler.function for handler, _ in handlers.of("a", ())] == [print, print]
    handlers.remove(None, print)
    assert not handlers.has("b")
    handlers.remove("a", None)
    handlers.remove("unknown", None)
    assert not handlers.has("a")


@pytest.mark.parametrize("event", ["connect", "disconnect", "connect_error", "newListener"])
def test_reserved_events_are_refused_with_a_hint(event: str) -> None:
    with pytest.raises(ConfigurationError, match=r"which is reserved; states\(\) tells"):
        Handlers().add(event, print)


def test_other_mistakes_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r'write `on\("event"\)`'):
        Handlers().add(print, print)  # type: ignore[arg-type]  # the mistake
    with pytest.raises(ConfigurationError, match="is not a function"):
        Handlers().add("a", "b")  # type: ignore[arg-type]  # the mistake
