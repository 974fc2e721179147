"""The acceptance list for those who come from Midway: twenty points, each one test, judged with the official client at the native door.

Where trio_sio does something else than Midway, on purpose, a comment says so: "Different".
"""

from __future__ import annotations

import logging
import re
import uuid
from typing import Any

import pytest
import trio

from tests.conformance.doors import open_door
from tests.conformance.midway_app import Hall, MidwayServer, Named, check_token
from tests.conformance.official import UNDEFINED, Report, play
from tests.conftest import require_tool
from trio_sio import ConnectionRefused, Route, RouteError, RoutingTable, Server, on_message
from trio_sio.client import open_client
from trio_sio.testing import open_test_server

INTERNAL_ERROR = {"status": "error", "message": "Internal server error"}
UNKNOWN_EVENT = {"status": "error", "message": "Unknown event"}


class Run:
    """One run of the client against one server."""

    def __init__(self, report: Report, server: MidwayServer, log: list[str]) -> None:
        self.report = report
        self.server = server
        self.log = log


class LogLines(logging.Handler):
    """Keeps what was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {record.getMessage()}")


@pytest.fixture(scope="module")
def run() -> Run:
    """What the official client reports of all scenarios."""
    require_tool("node", "socket.io-client")
    log = LogLines()

    async def main() -> Run:
        async with open_door("native", MidwayServer) as door:
            report = await play(door.url, "upgrade", "midway")
            assert isinstance(door.server, MidwayServer)
            return Run(report, door.server, log.lines)

    logger = logging.getLogger("trio_sio")
    logger.addHandler(log)
    try:
        return trio.run(main)
    finally:
        logger.removeHandler(log)


def emitted_or_acked(*args: object) -> dict[str, object]:
    """What a result with `emits` is without an ack, and with one."""
    return {"plain": [["r", *args]], "acked": {"heard": [], "answers": [list(args)]}}


def acked_only(*args: object) -> dict[str, object]:
    """What is only for those who ask."""
    return {"plain": [], "acked": {"heard": [], "answers": [list(args)]}}


def sent_anyway(*packets: list[object], answer: object) -> dict[str, object]:
    """What is sent whether there is an ack or not."""
    return {"plain": list(packets), "acked": {"heard": list(packets), "answers": [[answer]]}}


def test_01_results(run: Run) -> None:
    results = run.report["results"]
    assert results["none"] == acked_only(None)
    # Different: only `None` is nothing.
    assert results["zero"] == emitted_or_acked(0)
    assert results["empty text"] == emitted_or_acked("")
    assert results["false"] == emitted_or_acked(False)
    assert results["text"] == emitted_or_acked("text")
    assert results["object"] == emitted_or_acked({"a": 1})
    # Different: a list is one argument and a tuple several, whether emitted or acked.
    assert results["list"] == emitted_or_acked([1, 2])
    assert results["list in a list"] == emitted_or_acked([[1, 2]])
    # Different: an error is an answer.
    assert results["throw"] == acked_only(INTERNAL_ERROR)
    assert results["by another name"] == emitted_or_acked("text")
    assert results["without emits"] == acked_only("text")
    assert results["ack by hand"] == {"plain": [["r", "returned"]], "acked": {"heard": [], "answers": [["by hand", 2]]}}
    # Different: an ack takes the place of the reply only, not of what goes to rooms.
    assert results["to the room"] == sent_anyway(["neighbour", "r", "room"], answer="room")
    # Different: from top to bottom.
    assert results["twice"] == {"plain": [["upper", "both"], ["lower", "both"]], "acked": {"heard": [], "answers": [["both"]]}}
    # Different: each decorator stands for itself.
    everybody: list[list[object]] = [["all", "each"], ["neighbour", "room", "each"], ["neighbour", "all", "each"]]
    assert results["room and all"] == sent_anyway(*everybody, answer="each")
    # Different: `broadcasts` takes an event and rooms.
    assert results["broadcast to the room"] == sent_anyway(["r", "everybody"], ["neighbour", "r", "everybody"], answer="everybody")
    assert results["left"] == ["client namespace disconnect"]


def test_02_middleware_order(run: Run) -> None:
    result = run.report["order"]
    assert result["answer"] == "done"
    # Different: connecting is one onion as well, and the route's middleware is part of it.
    assert result["journal"] == [
        "connection: global in",
        "connection: route's in",
        "connection: hook's in",
        "connection: hook",
        "connection: hook's out",
        "connection: route's out",
        "connection: global out",
        "message: global in",
        "message: route's in",
        "message: event's in",
        "message: handler",
        "message: event's out",
        "message: route's out",
        "message: global out",
    ]


def test_03_middleware_without_return(run: Run) -> None:
    assert run.report["forgetful"] == {"answer": [None], "kept": "kept", "heard": []}
    # Different: it is told, once.
    assert len([line for line in run.log if line.startswith("WARNING Middleware forget ") and "return await call_next()" in line]) == 1


def test_04_refusal(run: Run) -> None:
    # Different: middleware runs before the client is let in, and may refuse.
    assert run.report["refusal"] == {
        "refused": {"message": "bad token", "data": {"code": 4001, "bytes left": [1]}},
        "connected": False,
        "active": False,
        "let_in": "connected",
    }


def test_05_messages_wait_for_the_connection_hook(run: Run) -> None:
    assert run.report["early"] == {"answers": [1, 2], "journal": ["hook begins", "hook ends", "message 1", "message 2"]}


def test_06_the_client_leaves(run: Run) -> None:
    # Different: what runs is cancelled, and nothing begins for a client that has left.
    assert run.report["leaves_middleware"] == [
        "middleware begins",
        "middleware is cancelled",
        "entered",
        "client namespace disconnect",
        "left",
    ]
    assert run.report["leaves_hook"] == ["entered", "hook begins", "hook is cancelled", "client namespace disconnect", "left"]
    assert run.report["leaves_handler"] == ["entered", "handler begins", "handler is cancelled", "client namespace disconnect", "left"]


def test_07_two_controllers_in_one_namespace(run: Run) -> None:
    result = run.report["shared"]
    assert result["answers"] == ["first", "second", ["third", 3]]
    # Different: once per socket, not per controller.
    assert result["journal"] == ["connection: global in", "connection: global out"]

    class Again:
        @on_message("say")
        async def say(self) -> None: ...

    # Different: one event has one handler.
    with pytest.raises(RouteError, match=r"Hall\.say and .*Again\.say both handle 'say' in namespace /;"):
        RoutingTable(Route("/", Hall), Route("/", Again()))


def test_08_names_and_patterns(run: Run) -> None:
    # Different: names go before patterns, in whatever order; patterns match the whole name.
    assert run.report["patterns"] == {
        "/dyn-7": ["literal", {}],
        "/dyn-8": ["digits", {"number": "8"}],
        "/dyn-x": ["anything", {}],
        "/xdyn-8": {"message": "Invalid namespace", "data": UNDEFINED},
    }
    pattern = re.compile("/same-.*")
    with pytest.raises(RouteError, match="have the same pattern"):
        RoutingTable(Route(pattern, Named("a")), Route(pattern, Named("b")))


def test_09_the_eight_forms_of_sending(run: Run) -> None:
    reached: Any = run.report["forms"]
    for namespace in ("/", "/ns"):
        expected = {
            "ctx.emit": "a",
            "ctx.broadcast.emit": "bc",
            'ctx.to("game").emit': "b",
            'ctx.to("a").to("b").emit': "bc",
            "ctx.nsp.emit": "abc",
            'app.of(ns).to("game").emit': "ab",
        }
        for form, names in expected.items():
            assert reached[f"{namespace}: {form}"] == ", ".join(f"{namespace} {name}" for name in names), form
        # The server itself is its main namespace, wherever one asks.
        assert reached[f'{namespace}: app.in("game").emit'] == "/ a, / b"
        assert reached[f"{namespace}: app.local.emit"] == "/ a, / b, / c"


def test_10_emits_excludes_the_sender_and_broadcasts_includes_it(run: Run) -> None:
    results = run.report["results"]
    assert results["to the room"]["plain"] == [["neighbour", "r", "room"]]
    assert results["broadcast to the room"]["plain"] == [["r", "everybody"], ["neighbour", "r", "everybody"]]


def test_11_fewer_and_more_arguments(run: Run) -> None:
    # Different: missing ones are an error; the ack is never an argument.
    def too_few(event: str, takes: str, given: str) -> dict[str, object]:
        return acked_only({"status": "error", "message": f"Event {event!r} takes {takes}, but {given} given"})

    assert run.report["argument_counts"] == {
        "none": too_few("pair", "1 to 2 arguments", "none were"),
        "one": emitted_or_acked([1, 7]),
        "two": emitted_or_acked([1, 2]),
        "three": emitted_or_acked([1, 2]),
        "one of two": too_few("exactly two", "2 arguments", "1 was"),
        "three of two": emitted_or_acked([1, 2]),
        "rest": emitted_or_acked([1, 2, 3]),
        "wrong": acked_only({"status": "error", "message": "Expected `int`, got `str`", "path": "$[2]"}),
    }


def test_12_errors_at_connect_message_and_disconnect(run: Run) -> None:
    assert run.report["errors_in_messages"] == {
        "handled": {"answer": [{"sorry": "message"}], "heard": [["sorry", "message"]] * 2, "unknown": UNKNOWN_EVENT},
        "unhandled": {"answer": [INTERNAL_ERROR], "heard": [], "unknown": UNKNOWN_EVENT},
    }
    # Different: exception handlers are for the hook, too; then the client is disconnected.
    assert run.report["errors_at_connect"] == {
        "seen": {"handled": ["connect", ["sorry", "connect"], "io server disconnect"], "unhandled": ["connect", "io server disconnect"]},
        "journal": ["server namespace disconnect"] * 2,
    }
    assert run.report["errors_at_disconnect"] == {"journal": ["client namespace disconnect"] * 2, "next": None}
    assert len([line for line in run.log if line.startswith("ERROR Errors.gone failed while connecting or disconnecting")]) == 2


def test_13_seven_values(run: Run) -> None:
    results = run.report["results"]
    values = [(0,), ("",), (False,), ([],), (), (1, 2), ([1, 2],)]
    names = ["zero", "empty text", "false", "empty list", "empty tuple", "tuple", "list"]
    assert [results[name] for name in names] == [emitted_or_acked(*value) for value in values]


def test_14_messages_are_handled_in_order(run: Run) -> None:
    # Different: one at a time; `concurrent=True` lets "fast" overtake.
    assert run.report["sequence"] == {"numbers": list(range(100)), "done": ["slow", "fast"]}


def test_15_one_adapter_per_namespace(run: Run) -> None:
    # However many routes there are.
    run.report["patterns"]
    assert {"/", "/ns", "/table", "/dyn-7", "/dyn-8"} <= set(run.server.adapters)
    assert set(run.server.adapters.values()) == {1}


def test_16_session_ids_of_36_characters_with_polling(run: Run) -> None:
    # Behind proxies that stick to them: test_so_does_one_with_an_id_of_36_characters in tests/test_behind_proxies.py.
    result = run.report["long_ids"]
    assert str(uuid.UUID(result["id"])) == result["id"]
    assert result["transport"] == "polling"


def test_17_emitting_to_an_unknown_namespace_opens_it_to_nobody(run: Run) -> None:
    # Different: asking for a namespace makes none.
    assert run.report["unknown"] == {"message": "Invalid namespace", "data": UNDEFINED}


def test_18_late_middleware_is_refused(run: Run) -> None:
    # Different: it raises.
    assert run.report["late_middleware"] == {
        "error": "check_token was registered after the server had started; register everything before.",
        "next": "connected",
    }


async def test_19_a_server_without_a_port_or_a_host_application_says_so() -> None:
    # Different: a server that would listen nowhere raises.
    server: Any = Server(RoutingTable(Route("/", Hall)))
    with pytest.raises(TypeError, match="'host' and 'port'"):
        await server.serve()
    with trio.fail_after(5), pytest.raises(ValueError, match="nothing would listen"):
        await server.serve_listeners([])


async def test_20_a_test_client_that_is_refused_raises_in_time() -> None:
    async with open_door("native", MidwayServer) as door:
        for namespace, message in (("/guarded", "bad token"), ("/nowhere", "Invalid namespace")):
            with trio.fail_after(5), pytest.raises(ConnectionRefused, match=message):
                async with open_client(door.url, namespace, connect_timeout=2):
                    pass
    async with open_test_server(RoutingTable(Route("/", Hall, middleware=[check_token]))) as server:
        with trio.fail_after(5), pytest.raises(ConnectionRefused, match="bad token"):
            async with server.strict_client():
                pass
