"""``/``: whatever comes in goes back out."""

from __future__ import annotations

from trio_sio import emits, on_message

__all__ = ["EchoController"]


class EchoController:
    """Answers ``echo`` with its arguments: in the ack where one is wanted, else as an ``echo`` event."""

    @on_message("echo")
    @emits("echo")
    def echo(self, *args: object) -> tuple[object, ...]:
        return args
