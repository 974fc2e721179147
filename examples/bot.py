"""A client: a bot for the chat that `make run` serves. It says hello, answers "time?", and comes back when the server does.

    make run                       # in one terminal
    python examples/bot.py         # in another; then open http://localhost:3000 and write `time?` in the lobby

Its tasks live in one nursery: stopping the program leaves the chat with a goodbye.
"""

from __future__ import annotations

import datetime
import os
import secrets

import trio

from trio_sio import ClientSocket, open_client
from trio_sio.client import Connected

ROOM = "lobby"


async def say(chat: ClientSocket, text: str) -> None:
    # With retries it is sent again when the connection is lost; the chat knows by the id that it has it already.
    await chat.emit_with_ack("say", ROOM, text, secrets.token_hex(8))


async def watch(chat: ClientSocket) -> None:
    """Tell what becomes of the connection, and enter the room again after each time it was lost."""
    async with chat.states() as states:
        async for state in states:
            print(state, flush=True)
            if isinstance(state, Connected) and not state.recovered:
                await chat.emit_with_ack("join", ROOM)
                await say(chat, "Hello! Ask me: time?")


async def answer(chat: ClientSocket) -> None:
    async for event in chat:
        if event.name == "said" and event.args[0]["text"].strip().lower() == "time?":
            await say(chat, f"It is {datetime.datetime.now():%H:%M}.")


async def run(url: str) -> None:
    async with open_client(url, "/chat", auth={"name": "Bot"}, retries=3) as chat, trio.open_nursery() as nursery:
        nursery.start_soon(watch, chat)
        nursery.start_soon(answer, chat)


if __name__ == "__main__":
    try:
        trio.run(run, f"http://localhost:{os.environ.get('PORT', '3000')}")
    except* KeyboardInterrupt:
        pass
