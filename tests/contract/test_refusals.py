"""What the contract says about refusals that are declared."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.conftest import ROOT
from tests.contract.compiling import find_faults
from trio_sio import (
    ConnectionRefused,
    Context,
    Next,
    RateLimited,
    Refused,
    Route,
    RouteError,
    RoutingTable,
    on_connection,
    on_message,
    rate_limit,
    refuses,
)
from trio_sio.contract import Refusal
from trio_sio.contract.page import Surroundings, page
from trio_sio.testing import open_test_server

HERE = Path(__file__).parent


@dataclass
class Problem:
    """What is wrong with a token."""

    code: Literal["no token", "bad token"]
    hint: str = ""


class BadToken(ConnectionRefused):
    """The client has to log in.

    Nobody reads this.
    """

    data: Problem


class NotHere(Refused):
    data: list[str]


class Untyped(Refused):
    """Says nothing about its data."""


@refuses(BadToken)
async def authenticate(ctx: Context, call_next: Next) -> object:
    raise BadToken("Log in again.", Problem("bad token"))


@refuses(NotHere)
async def members(ctx: Context, call_next: Next, rooms: list[str] | None = None) -> object:
    return await call_next()


@refuses(Untyped)
class Quota:
    async def __call__(self, ctx: Context, call_next: Next) -> object:
        return await call_next()


class Desk:
    @on_connection(middleware=[Quota()])
    async def joined(self) -> None: ...

    @on_message("say", middleware=[rate_limit("1/s")])
    async def say(self, text: str) -> int:
        raise NotImplementedError

    @on_message("forget")
    @refuses(NotHere, BadToken, NotHere)
    @refuses(Untyped)
    async def forget(self) -> None:
        raise NotHere("Not here.", ["a"])


routes = RoutingTable(
    Route("/desk", Desk, middleware=[partial(members, rooms=[])], connection_middleware=[authenticate]),
    Route("/plain", Desk),
    connection_middleware=[rate_limit("1/s", per="address")],
)
CONTRACT = routes.contract()
AFTER = {"$ref": "#/$defs/RetryAfter"}
ROOMS = {"type": "array", "items": {"type": "string"}}


def test_it_says_with_what_clients_and_their_events_are_refused() -> None:
    desk, plain = CONTRACT.namespaces
    assert [(one.name, one.data) for one in desk.refusals] == [
        ("RateLimited", AFTER),
        ("NotHere", ROOMS),
        ("BadToken", {"$ref": "#/$defs/Problem"}),
        ("Untyped", {}),
    ]
    assert [one.name for one in plain.refusals] == ["RateLimited", "Untyped"]
    assert desk.refusals[2].description == "The client has to log in."
    say, forget = desk.sent
    assert [(one.name, one.data) for one in say.refusals] == [("NotHere", ROOMS), ("RateLimited", AFTER)]
    # What is no answer, as `BadToken` is none, is not among them.
    assert [one.name for one in forget.refusals] == ["NotHere", "Untyped"]
    assert [one.name for one in plain.sent[0].refusals] == ["RateLimited"]
    assert forget.refusals[0] == Refusal("NotHere", "", ROOMS)
    # What a client hears is complete.
    assert CONTRACT.schemas["Problem"]["required"] == ["code", "hint"]


class Guard:
    @refuses(NotHere)
    async def __call__(self, ctx: Context, call_next: Next) -> object:
        return await call_next()


class Spelled:
    @on_message("guarded", middleware=[Guard()])
    async def guarded(self) -> None: ...

    @refuses(NotHere)
    @on_message("static")
    @staticmethod
    async def static() -> None: ...

    @refuses(NotHere)
    @on_message("class")
    @classmethod
    async def of_class(cls) -> None: ...

    @on_message("below")
    @staticmethod
    @refuses(NotHere)
    async def below() -> None: ...


def test_wherever_the_mark_stands_it_is_found() -> None:
    (namespace,) = RoutingTable(Route("/", Spelled)).contract().namespaces
    assert {event.name: [one.name for one in event.refusals] for event in namespace.sent} == {
        name: ["NotHere"] for name in ("guarded", "static", "class", "below")
    }


def of_module(annotation: object) -> type[Refused]:
    """Return a refusal that bears the name of another module's."""
    return type("NotHere", (Refused,), {"__annotations__": {"data": annotation}})


def test_refusals_of_one_name_are_two() -> None:
    class Both:
        @on_message("say")
        @refuses(of_module(int), of_module(str))
        async def say(self) -> None: ...

    said = RoutingTable(Route("/", Both)).contract().json_schema()["namespaces"]["/"]["sent"]["say"]
    assert said["refusals"] == {"NotHere": {"data": {"type": "integer"}}, "NotHere2": {"data": {"type": "string"}}}


def test_json_schema_has_them() -> None:
    desk = CONTRACT.json_schema()["namespaces"]["/desk"]
    assert desk["refusals"]["BadToken"] == {"description": "The client has to log in.", "data": {"$ref": "#/$defs/Problem"}}
    assert desk["sent"]["say"]["refusals"]["RateLimited"]["data"] == AFTER


def test_a_table_that_refuses_nothing_says_nothing() -> None:
    class Quiet:
        @on_message("say")
        async def say(self) -> None: ...

    contract = RoutingTable(Route("/", Quiet)).contract()
    assert "refusals" not in json.dumps(contract.json_schema())
    assert "Refus" not in contract.text("asyncapi")
    assert "Refusals" not in contract.text("typescript")


USES = """\
import { io } from "socket.io-client";
import { Desk, Plain, Problem } from "./contract";

const socket: Desk.Socket = io(Desk.path);
socket.on("connect_error", (error: Desk.ConnectError) => {
  const data = error.data;
  if (data !== undefined && typeof data === "object" && data !== null && "code" in data) {
    const problem = data as Problem;
    problem.code === "bad token";
    problem.code === "worse token"; // wrong
  }
});
async function say(): Promise<void> {
  const answer: number | Plain.Refusals["say"] = await socket.emitWithAck("say", "hello") as number | Plain.Refusals["say"];
  if (typeof answer === "object") {
    answer.data.retry_after.toFixed();
    answer.data.retryAfter; // wrong
    answer.message.length;
  }
}
type None = Desk.Refusals["shout"]; // wrong
"""


@pytest.mark.needs("node", "typescript", "socket.io-client")
def test_typescript_knows_what_they_bring(tmp_path: Path) -> None:
    found, said = find_faults(CONTRACT, USES, tmp_path)
    assert found == {number for number, line in enumerate(USES.splitlines(), 1) if line.endswith("// wrong")}, said
    assert "contract.ts(" not in said


@pytest.mark.needs("node", "@asyncapi/parser")
def test_asyncapi_has_them_as_replies_and_as_connect_error() -> None:
    text = CONTRACT.text("asyncapi")
    ran = subprocess.run(["node", str(HERE / "asyncapi.cjs")], input=text, capture_output=True, text=True, check=True, cwd=ROOT, timeout=80)
    assert json.loads(ran.stdout) == {"valid": True, "errors": [], "addresses": ["/desk", "/plain"]}
    document = json.loads(text)
    messages, operations = document["channels"]["Desk"]["messages"], document["operations"]
    assert messages["refused"]["payload"]["required"] == ["message"]
    assert operations["DeskRefused"]["action"] == "send"
    replies = [one["$ref"].rpartition("/")[2] for one in operations["DeskSentSay"]["reply"]["messages"]]
    assert replies == ["sentSayReply", "sentSayRefusal"]
    assert [one["$ref"].rpartition("/")[2] for one in operations["DeskSentForget"]["reply"]["messages"]] == ["sentForgetRefusal"]
    (refusal,) = messages["sentSayRefusal"]["payload"]["prefixItems"]
    assert refusal["required"] == ["status", "message", "data"]
    assert refusal["properties"]["data"]["anyOf"][1] == {"title": "RateLimited", "$ref": "#/components/schemas/RetryAfter"}


def test_the_page_shows_them() -> None:
    text = page(CONTRACT, Surroundings("/events", "/socket.io", None, ("polling",))).body.decode()
    assert text.count("<h4>Refused with</h4>") == 4
    assert text.count("<h3>Clients are refused with</h3>") == 2
    assert "The client has to log in." in text


async def test_what_is_declared_is_what_is_sent() -> None:
    table = RoutingTable(Route("/desk", Desk, connection_middleware=[authenticate]), Route("/plain", Desk))
    async with open_test_server(table) as server:
        with pytest.raises(ConnectionRefused) as info:
            async with server.client("/desk"):
                pass
        assert (info.value.message, info.value.data) == ("Log in again.", {"code": "bad token", "hint": ""})
        async with server.client("/plain") as client:
            assert await client.emit_with_ack("forget") == {"status": "error", "message": "Not here.", "data": ["a"]}


@pytest.mark.parametrize("refusal", [ValueError, "BadToken", BadToken("x"), None])
def test_what_refuses_nobody_is_said(refusal: Any) -> None:
    with pytest.raises(RouteError, match="is nothing to refuse a client with; name subclasses of Refused"):
        refuses(refusal)


def test_data_that_nobody_knows_is_said() -> None:
    class Lost(Refused):
        data: Nowhere  # type: ignore[name-defined]  # noqa: F821

    class Lonely:
        @on_message("say")
        @refuses(Lost)
        async def say(self) -> None: ...

    with pytest.raises(RouteError, match=r"The data of .*Lost is annotated with what its module has not: name 'Nowhere'"):
        RoutingTable(Route("/", Lonely)).contract()


def test_what_has_no_room_for_a_mark_is_said() -> None:
    with pytest.raises(RouteError, match="cannot be marked; put @refuses on a function or a class"):
        refuses(RateLimited)(len)
