"""The official JavaScript client gets what the protocol and DESIGN promise, on every transport and at every door.

Each test names the scenario below ``javascript/`` that it judges. What a server saw reaches the report through the client too: the
application keeps a journal, which a second connection reads.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.conformance.official import UNDEFINED, Report

INTERNAL_ERROR = {"status": "error", "message": "Internal server error"}
UNKNOWN_EVENT = {"status": "error", "message": "Unknown event"}


# Connecting.


def test_the_handshake_announces_what_the_server_does(report: Report) -> None:
    result = report["connect"]
    upgrades = [] if report.mode == "websocket" else ["websocket"]
    assert result["offer"] == {"upgrades": upgrades, "pingInterval": 25_000, "pingTimeout": 20_000, "maxPayload": 1_000_000}
    assert result["ids"] == [20, 20]
    assert result["distinct"], "the id of a socket must not give away the id of its session"
    assert result["same"]
    assert result["recovered"] is UNDEFINED


def test_a_client_without_auth(report: Report) -> None:
    seen = report["connect"]["seen"]
    assert seen["auth"] == {}
    assert seen["namespace"] == "/"
    assert seen["connected"] is True
    assert seen["address"] == "127.0.0.1"
    assert seen["secure"] is False


def test_nothing_is_lost_while_the_transport_changes(report: Report) -> None:
    trail = ["polling", "websocket"] if report.mode == "upgrade" else [report.mode]
    assert report["transport"] == {"trail": trail, "acked": True, "mirrored": True, "inStep": True}


def test_auth_query_and_headers_reach_the_handshake(report: Report) -> None:
    result = report["handshake"]
    assert result["auth"] == {"label": "handshake", "token": "secret", "user": {"name": "Ada", "tags": [1, None]}}
    assert result["query"] == {"room": "blue & é", "empty": "", "EIO": "4"}
    assert result["colour"] == "blue"
    assert result["made"] == {"token": "secret", "made": True}
    assert result["inUrl"] == "red"


def test_refusals_carry_message_and_data(report: Report) -> None:
    refused = {"active": False, "joined": False}
    assert report["refusals"]["outcomes"] == {
        "wrong": {"message": "bad token", "data": {"code": 4001}, **refused},
        "crash": {"message": "Internal server error", "data": UNDEFINED, **refused},
        "forget": {"message": "Connection refused", "data": UNDEFINED, **refused},
    }


def test_a_refused_client_may_try_again_on_the_same_connection(report: Report) -> None:
    result = report["refusals"]
    assert (result["retried"], result["sameConnection"], result["main"]) == (True, True, "alive")


def test_an_unknown_namespace_is_invalid(report: Report) -> None:
    result = report["unknown_namespace"]
    invalid = {"message": "Invalid namespace", "data": UNDEFINED}
    assert result["outcomes"] == {"/nowhere": invalid, "/room-x": invalid, "/a/room-7": invalid}
    assert result["main"] == "alive"


def test_namespaces_made_by_a_pattern_are_separate(report: Report) -> None:
    result = report["pattern_namespace"]
    assert result["params"] == [{"id": "7"}, {"id": "8"}]
    assert result["heard"] == [
        ["eight", "from eight"],
        ["neighbour", "from seven"],
        ["neighbour", "from the neighbour"],
        ["seven", "from seven"],
        ["seven", "from the neighbour"],
    ]


def test_one_of_several_namespaces_can_be_left_and_joined_again(report: Report) -> None:
    assert report["several_namespaces"] == {
        "ids": 3,
        "reason": "io client disconnect",
        "journal": ["client namespace disconnect"],
        "others": ["alive", {"id": "7"}],
        "again": True,
        "newId": True,
        "oneConnection": True,
    }


def test_what_middleware_emits_follows_connect(report: Report) -> None:
    result = report["emits_from_middleware_and_hook"]
    assert result["packets"] == [[0, None], [2, ["early", 1]], [2, ["welcome", "you are in"]]]
    assert result["order"] == ["connect", "early", "welcome"]


def test_messages_wait_for_the_connection_hook(report: Report) -> None:
    assert report["messages_before_the_hook_ends"] == ["hook begins", "hook ends", 1, 2, 3]


# Messages and acknowledgements.


def test_no_to_five_arguments_both_ways(report: Report) -> None:
    everything = ["a", 2, None, [4], {"five": 5}]
    assert report["argument_counts"] == [everything[:count] for count in range(6)]


def test_text_of_every_kind_survives(report: Report) -> None:
    result = report["texts"]
    # The msgpack parser takes a lone surrogate for half a pair, before anything is sent.
    lost = ["\ud800"] if report.parser == "msgpack" else []
    assert result["changed"] == lost
    assert result["object"] == {"ключ": ["значение"], "__proto__x": 1, "": 2}
    assert result["event"] == ["ça va"]


def test_values_survive_as_far_as_the_parser_carries_them(report: Report) -> None:
    large: float = 1e21
    gone: list[object] = [None, None]
    date: object = "1970-01-01T00:00:00.000Z"
    if report.parser == "msgpack":
        # The client itself cuts 1e21 down to 64 bits.
        large, gone, date = 3_875_820_019_684_212_700, [math.nan, math.inf], datetime(1970, 1, 1, tzinfo=UTC)
    numbers = [0, -1, 1.5, large, 5e-324, 2**53, 12345678901234567000]
    assert repr(report["values"]) == repr([True, False, None, *numbers, *gone, None, date, [[[]]], {}])


def test_binary_both_ways(report: Report) -> None:
    assert report["binary"] == {
        "alone": [b"\x00\xff\x1e\n"],
        "empty": [b""],
        "mixed": ["text", b"a", 1, b"b"],
        "nested": [{"list": [1, b"c", {"deep": b"d"}], "text": "e"}],
        "kinds": [b"\x01\x02", b"\x03\x04"],
        "ten": [[bytes([index]) for index in range(10)]],
        "placeholder": [{"_placeholder": True, "num": 0}],
    }


def test_every_bytes_like_type_arrives_as_binary(report: Report) -> None:
    assert report["binary_from_server"] == [b"\x01\x02", b"\x03", b"\x04\x05", {"deep": [b""]}]


def test_acks_carry_any_number_of_values(report: Report) -> None:
    assert report["acks"] == {
        "nothing": [],
        "one": ["x"],
        "several": [1, "two", {"three": 3}],
        "firstOnly": 1,
        "null": [None],
        "undefined": [None],
        "bytes": [b"a", {"deep": [b"b", b""]}],
    }


def test_acks_in_flight_find_their_questions(report: Report) -> None:
    assert report["acks_in_flight"] == list(range(16))


def test_the_clients_ack_timeout(report: Report) -> None:
    assert report["ack_timeouts"] == {"inTime": "in time", "error": "operation has timed out", "alive": "alive"}


def test_the_client_acks(report: Report) -> None:
    assert report["acks_from_client"] == {
        "nothing": ["NoneType", None],
        "text": ["str", "yes"],
        "null": ["NoneType", None],
        "undefined": ["NoneType", None],
        "several": ["tuple", [1, "two", {"three": 3}]],
        "bytes": ["bytes", b"\x01\x02\x03"],
        "nested": ["dict", {"deep": [b"\x04", "text", b""]}],
    }


def test_an_answer_that_comes_too_late_is_ignored(report: Report) -> None:
    assert report["client_answers_too_late"] == {"outcome": "too slow", "alive": "alive"}


def test_whoever_waits_for_an_answer_learns_that_the_client_left(report: Report) -> None:
    assert report["client_leaves_instead_of_answering"] == ["disconnected while asking", "client namespace disconnect"]


def test_handlers_run_one_at_a_time_and_in_order(report: Report) -> None:
    assert report["one_at_a_time_and_in_order"] == ["slow begins", "slow ends", "fast"]


def test_concurrent_handlers_start_in_order_and_overlap(report: Report) -> None:
    assert report["concurrent_handlers"] == {"before": ["slow begins", "fast"], "after": ["slow begins", "fast", "slow ends"]}


def test_many_messages_stay_in_order(report: Report) -> None:
    assert report["many_in_order"] == list(range(200))


def test_asking_the_client_in_front_of_a_long_queue_does_not_deadlock(report: Report) -> None:
    assert report["backlog"] == {"answer": "answered", "in order": True}


def test_messages_just_below_the_limit(report: Report) -> None:
    assert report["large"] == {"text": True, "bytes": True, "alive": "alive"}


def test_nobody_is_disconnected_for_being_fast(report: Report) -> None:
    length = 700_000 if report.parser == "msgpack" else 900_000
    assert report["large_and_fast"] == {"lengths": [length] * 7, "alive": ["alive"]}


def test_a_message_above_the_limit_ends_the_connection(report: Report) -> None:
    if report.mode == "polling":
        # The request alone is refused; it is the client that then gives up, and says so.
        expected = {"reason": "transport error", "cause": 413, "journal": ["transport close"]}
    else:
        expected = {"reason": "transport close", "cause": 1009, "journal": ["transport error"]}
    assert report["too_large"] == expected


def test_the_newest_volatile_packet_always_arrives(report: Report) -> None:
    assert report["volatile"] == {"increasing": True, "last": 49}


# Rooms.


def test_join_and_leave(report: Report) -> None:
    assert report["join_and_leave"] == [
        ["own id"],
        ["own id", "red"],
        ["blue", "own id", "red", "漢字"],
        ["blue", "own id", "漢字"],
        ["blue", "own id", "漢字"],
    ]


WHO_HEARS_WHAT = {
    "socket.to red": "b",
    "socket.to red, by an outsider": "ab",
    "socket.to red and blue": "bc",
    "socket.to red except blue": "",
    "socket.to an id": "c",
    "socket.to nobody": "",
    "socket.broadcast": "bc",
    "socket.broadcast except blue": "a",
    "namespace.in red": "ab",
    "namespace.in red and blue": "abc",
    "namespace.emit": "abc",
    "namespace.except blue": "a",
    "server.of": "ab",
    "server.in means the main namespace": "",
    "local": "ab",
    "after c left blue": "b",
    "after b was disconnected": "a",
}


def test_who_hears_what(report: Report) -> None:
    """``a`` is in red, ``b`` in red and blue, ``c`` in blue; a name that came twice would be listed twice."""
    assert report["who_hears_what"] == WHO_HEARS_WHAT


def test_a_broadcast_carries_binary(report: Report) -> None:
    assert report["binary_broadcast"] == [[name, {"deep": [b"\x01", b""]}] for name in "abc"]


# Results: the table of DESIGN, section 5.


@pytest.mark.parametrize(
    ("call", "args"),
    [
        ("zero", [0]),
        ("empty", [""]),
        ("false", [False]),
        ("empty list", [[]]),
        ("dict", [{"a": 1}]),
        ("tuple", [1, 2]),
        ("empty tuple", []),
        ("list", [[1, 2]]),
        ("bytes", [b"\x01", {"b": b"\x02"}]),
        ("fits", [[1, 2, 3]]),
        ("fits with one too many", [[1, 2, 3]]),
        ("default used", [[1, "default"]]),
    ],
)
def test_a_result_is_emitted_or_else_acked(report: Report, call: str, args: list[Any]) -> None:
    assert report[f"result: {call}"] == {"plain": [["result", *args]], "acked": [], "answers": [args]}


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("none", None),
        ("raises", INTERNAL_ERROR),
        ("handled by the event", {"handled by": "event", "event": "handled by the event"}),
        ("handled by the route", {"handled by": "route", "event": "handled by the route"}),
        ("handled by the table", {"handled by": "table", "event": "handled by the table"}),
        ("unknown", UNKNOWN_EVENT),
        ("manual ack and raises", INTERNAL_ERROR),
    ],
)
def test_what_is_no_result_is_acked_only(report: Report, call: str, answer: object) -> None:
    assert report[f"result: {call}"] == {"plain": [], "acked": [], "answers": [[answer]]}


@pytest.mark.parametrize(("call", "path"), [("wrong type", "$[0]"), ("wrong inside", "$[1].y"), ("too few", "")])
def test_arguments_that_do_not_fit_are_explained(report: Report, call: str, path: str) -> None:
    result = report[f"result: {call}"]
    assert (result["plain"], result["acked"]) == ([], [])
    [[answer]] = result["answers"]
    assert answer["status"] == "error"
    assert answer["message"]
    assert answer.get("path", "") == path


def test_no_ack_means_no_ack(report: Report) -> None:
    assert report["result: no ack"] == {"plain": [], "acked": [], "answers": []}


def test_an_ack_given_by_hand_replaces_the_result(report: Report) -> None:
    assert report["result: manual ack"] == {"plain": [], "acked": [], "answers": [["acked", True, False]]}


def test_an_ack_may_be_given_later(report: Report) -> None:
    assert report["late_ack"] == {"first": "fence", "answer": "acked late"}


def test_an_ack_does_not_replace_what_goes_to_a_room(report: Report) -> None:
    neighbour = ["neighbour", "to the room", "both"]
    assert report["result: to a room"] == {"plain": [["to the sender", "both"], neighbour], "acked": [neighbour], "answers": [["both"]]}


def test_an_ack_does_not_replace_a_broadcast(report: Report) -> None:
    broadcast = [["to everybody", "all"], ["to the whole room", "all"]]
    for_neighbour = [["neighbour", *packet] for packet in broadcast]
    assert report["result: everybody"] == {
        "plain": [["to the sender", "all"], *broadcast, *for_neighbour],
        "acked": [*broadcast, *for_neighbour],
        "answers": [["all"]],
    }


# The end.


def test_the_client_leaves_a_namespace(report: Report) -> None:
    assert report["client_disconnects"] == {
        "reason": "io client disconnect",
        "active": False,
        "journal": ["client namespace disconnect"],
        "other": True,
    }


def test_the_client_closes_the_connection(report: Report) -> None:
    assert report["client_closes_the_connection"] == {"reasons": ["forced close"] * 2, "journal": ["transport close"] * 2}


def test_what_was_said_before_leaving_is_heard(report: Report) -> None:
    assert report["last_words_are_heard"] == [*range(50), "client namespace disconnect"]


def test_the_server_disconnects_a_namespace(report: Report) -> None:
    assert report["server_disconnects"] == {
        "order": ["goodbye", "io server disconnect"],
        "active": False,
        "journal": ["server namespace disconnect"],
        "other": True,
    }


def test_a_client_that_was_disconnected_may_come_back(report: Report) -> None:
    assert report["server_disconnects_and_comes_back"] == {"newId": True, "alive": "alive"}


def test_the_server_closes_the_connection(report: Report) -> None:
    assert report["server_closes_the_connection"] == {
        "heard": ["goodbye"],
        "reasons": ["io server disconnect"] * 2,
        "active": [False, False],
        "journal": ["server namespace disconnect"] * 2,
    }


def test_a_failing_hook_disconnects(report: Report) -> None:
    assert report["hook_fails"] == {"order": ["connect"], "reason": "io server disconnect", "journal": ["server namespace disconnect"]}
