"""The servers that the official protocol test suites ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trio_sio import Config, EngineServer, Route, RoutingTable, Server, Session, Socket, emits, on_connection, on_message


async def echo(session: Session) -> None:
    async for message in session:
        await session.send(message)


def engine_server(settings: Mapping[str, Any]) -> EngineServer:
    return EngineServer(echo, config=Config(path="/engine.io", **settings))


class Greeter:
    def __init__(self, socket: Socket) -> None:
        self.socket = socket

    @on_connection
    async def joined(self) -> None:
        await self.socket.emit("auth", self.socket.handshake.auth)


class Echo(Greeter):
    @on_message("message")
    @emits("message-back")
    async def message(self, *args: object) -> tuple[object, ...]:
        return args

    @on_message("message-with-ack")
    async def message_with_ack(self, *args: object) -> tuple[object, ...]:
        return args


def socket_server(settings: Mapping[str, Any]) -> Server:
    return Server(RoutingTable(Route("/", Echo), Route("/custom", Greeter)), config=Config(**settings))
