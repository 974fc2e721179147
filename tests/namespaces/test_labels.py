"""What may stand in a label: names of the application's, however many the clients make up."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from trio_sio import Route, RoutingTable, Server, Socket, broadcasts, emits, on_any_message, on_message, server_event
from trio_sio.namespaces.labels import Labels


@server_event
def closed(reason: str) -> None: ...


@server_event("question")
def ask(text: str) -> None: ...


class Desk:
    @on_message("hello", "hi")
    @emits("welcome")
    async def hello(self) -> str:
        return ""

    @on_message("leave")
    @broadcasts(ask)
    async def leave(self) -> str:
        return ""

    @on_any_message
    async def rest(self, event: str) -> None: ...


class Rooms:
    @on_message("say")
    async def say(self, socket: Socket) -> None: ...


ROUTES = RoutingTable(Route("/desk", Desk, events=[closed]), Route(re.compile("/rooms/[0-9]+"), Rooms), Route("/rooms/1", Desk))


def test_the_events_that_a_table_knows() -> None:
    desk = {"hello", "hi", "welcome", "leave", "question"}
    known = {where if isinstance(where, str) else where.pattern: events for where, events in ROUTES.event_names()}
    assert known == {"/desk": desk | {"closed"}, "/rooms/[0-9]+": {"say"}, "/rooms/1": desk}


@pytest.mark.parametrize(
    ("namespace", "event", "labels"),
    [
        ("/desk", "hello", ("/desk", "hello")),
        ("/desk", "closed", ("/desk", "closed")),
        ("/desk", "made up", ("/desk", "other")),
        ("/rooms/1", "say", ("/rooms/1", "other")),
        ("/rooms/2", "say", ("/rooms/[0-9]+", "say")),
        ("/rooms/2", "hello", ("/rooms/[0-9]+", "other")),
        ("/unknown", "hello", ("other", "other")),
        ("/desk", "other", ("/desk", "other")),
    ],
)
def test_the_names_in_labels(namespace: str, event: str, labels: tuple[str, str]) -> None:
    known = Labels(Server(ROUTES))
    for _ in range(2):  # the second time it remembers
        assert known.event(namespace, event) == labels
        assert known.namespace(namespace) == labels[0]


def test_namespaces_that_clients_make_up_are_not_remembered_for_ever() -> None:
    labels = Labels(Server(ROUTES))
    for number in range(5_000):
        labels.namespace(f"/rooms/{number}")
        labels.namespace(f"/{number}")
    remembered = [value for value in vars(labels).values() if isinstance(value, dict)]
    assert max(map(len, remembered)) <= 1_000


def test_routes_are_looked_at_as_the_first_name_is_asked_for() -> None:
    server = SimpleNamespace(routes=RoutingTable())
    labels = Labels(server)
    server.routes = ROUTES
    assert labels.event("/desk", "hello") == ("/desk", "hello")
