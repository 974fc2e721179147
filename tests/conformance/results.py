"""The application's controller of ``/results``: everything that a handler can do about its result (DESIGN, section 5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trio_sio import Ack, Context, NoAck, Socket, broadcasts, emits, on_message


@dataclass
class Point:
    x: int
    y: int


class HandledByEvent(Exception):
    pass


class HandledByRoute(Exception):
    pass


class HandledByTable(Exception):
    pass


def handled_by(layer: str) -> Callable[[Context, Exception], object]:
    """Make an exception handler whose value tells which layer it belongs to."""

    async def handle(ctx: Context, error: Exception) -> object:
        return {"handled by": layer, "event": ctx.event}

    return handle


@dataclass
class Results:
    """``/results``: everything that a handler can do about its result."""

    socket: Socket

    @on_message("none")
    @emits("result")
    async def none(self) -> None:
        return None

    @on_message("zero")
    @emits("result")
    async def zero(self) -> int:
        return 0

    @on_message("empty")
    @emits("result")
    async def empty(self) -> str:
        return ""

    @on_message("false")
    @emits("result")
    async def false(self) -> bool:
        return False

    @on_message("empty list")
    @emits("result")
    async def empty_list(self) -> list[object]:
        return []

    @on_message("dict")
    @emits("result")
    async def dict_(self) -> dict[str, object]:
        return {"a": 1}

    @on_message("tuple")
    @emits("result")
    async def tuple_(self) -> tuple[int, int]:
        return (1, 2)

    @on_message("empty tuple")
    @emits("result")
    async def empty_tuple(self) -> tuple[()]:
        return ()

    @on_message("list")
    @emits("result")
    def list_(self) -> list[int]:
        return [1, 2]

    @on_message("bytes")
    @emits("result")
    async def bytes_(self) -> tuple[bytes, dict[str, bytes]]:
        return b"\x01", {"b": b"\x02"}

    @on_message("raises")
    @emits("result")
    async def raises(self) -> None:
        raise RuntimeError("a mistake in the handler")

    @on_message("handled by the event", exception_handlers={HandledByEvent: handled_by("event")})
    @emits("result")
    async def handled_by_event(self) -> None:
        raise HandledByEvent

    @on_message("handled by the route")
    @emits("result")
    async def handled_by_route(self) -> None:
        raise HandledByRoute

    @on_message("handled by the table")
    @emits("result")
    async def handled_by_table(self) -> None:
        raise HandledByTable

    @on_message("fits")
    @emits("result")
    async def fits(self, number: int, point: Point) -> list[int]:
        return [number, point.x, point.y]

    @on_message("default used")
    @emits("result")
    async def default_used(self, number: int, text: str = "default") -> list[object]:
        return [number, text]

    @on_message("no ack")
    @emits("result")
    async def no_ack(self) -> None:
        raise NoAck

    @on_message("manual ack")
    @emits("result")
    async def manual_ack(self, when: str, ack: Ack) -> None:
        if when == "now":
            await ack("acked", ack.wanted, ack.answered)
        else:
            self.socket.start_soon(self._answer_when_released, ack)

    async def _answer_when_released(self, ack: Ack) -> None:
        await self.socket.once("release")
        await ack("acked late")

    @on_message("manual ack and raises")
    @emits("result")
    async def manual_ack_and_raises(self, ack: Ack) -> None:
        raise RuntimeError("a mistake before the ack")

    @on_message("to a room")
    @emits("to the sender")
    @emits("to the room", to="lobby")
    async def to_a_room(self) -> str:
        return "both"

    @on_message("everybody")
    @emits("to the sender")
    @broadcasts("to everybody")
    @broadcasts("to the whole room", to="lobby")
    async def everybody(self) -> str:
        return "all"

    @on_message("join")
    async def join(self, room: str) -> None:
        await self.socket.join(room)

    @on_message("fence")
    async def fence(self) -> None:
        # Where there are several servers, the others answer this after all that they were told before.
        await self.socket.namespace.count_sockets()
