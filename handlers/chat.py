"""``/chat``: named rooms, who is here, who is typing, and what was said lately."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from trio_sio import BadMessage, ConnectionRefused, Context, Next, Socket, emits, on_connection, on_disconnection, on_message

from .chat_events import Welcome, people, rooms, said, typing, welcome
from .chat_state import Chat, Message, clean_name, clean_text

__all__ = ["ChatController"]


class Joined(TypedDict):
    """The answer to ``join``."""

    room: str
    messages: list[Message]


async def require_name(ctx: Context, call_next: Next) -> object:
    """Refuse clients that do not connect with a usable ``auth: {name}``."""
    name = ctx.socket.handshake.auth.get("name")
    if not isinstance(name, str):
        raise ConnectionRefused("Connect with auth: {name: ...}.", data={"field": "name"})
    try:
        ctx.socket.data["name"] = clean_name(name, "Your name")
    except BadMessage as error:
        raise ConnectionRefused(error.message, data={"field": "name"}) from None
    return await call_next()


@dataclass
class ChatController:
    """One person in the chat, who connects with ``auth: {name}``.

    Text is text: nothing that a client sends is markup, here or on the page.
    """

    socket: Socket
    chat: Chat
    name: str = ""

    @on_connection(middleware=[require_name])
    @emits(welcome)
    def arrived(self) -> Welcome:
        self.name = self.chat.claim(self.socket.id, self.socket.data["name"])
        return Welcome(name=self.name, rooms=self.chat.rooms())

    @on_message("join")
    async def join(self, room: str) -> Joined:
        """Enter a room, which is made if it is not there."""
        room = clean_name(room, "A room's name")
        self.chat.enter(self.socket.id, room)
        await self.socket.join(_channel(room))
        await self._announce(room)
        return Joined(room=room, messages=self.chat.history(room))

    @on_message("leave")
    async def leave(self, room: str) -> None:
        """Leave a room."""
        self.chat.leave(self.socket.id, room)
        await self.socket.leave(_channel(room))
        await self._announce(room)

    @on_message("say")
    async def say(self, room: str, text: str, id: str) -> Message:
        """Say something in a room; saying it again with the same id changes nothing."""
        message, new = self.chat.say(self.socket.id, room, clean_text(text), id)
        if new:
            await self.socket.to(_channel(room)).emit(said, message)
        return message

    @on_message("typing")
    async def types(self, room: str) -> None:
        """Hint that one is writing."""
        if self.chat.is_in(self.socket.id, room):
            # Only the latest matters, and nobody's connection shall fill up with it.
            hint = self.socket.to(_channel(room)).volatile(key=f"typing:{self.socket.id}")
            await hint.emit(typing, room, self.name)

    @on_disconnection
    async def gone(self) -> None:
        for room in self.chat.forget(self.socket.id):
            await self._announce(room)

    async def _announce(self, room: str) -> None:
        namespace = self.socket.namespace
        count, names = self.chat.people(room)
        await namespace.to(_channel(room)).emit(people, room, count, names)
        await namespace.emit(rooms, self.chat.rooms())


def _channel(room: str) -> str:
    # Every socket is alone in a room named by its id; the prefix keeps the names that clients choose apart from those.
    return f"chat:{room}"
