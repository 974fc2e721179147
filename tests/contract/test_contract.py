"""The contract: what it says, and what TypeScript and AsyncAPI's parser say about it."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pydantic
import pytest

from tests.conftest import ROOT
from tests.contract.application import routes
from tests.contract.compiling import find_faults
from trio_sio import Route, RouteError, RoutingTable, cli, emits, on_message, server_event
from trio_sio.contract import EventContract
from trio_sio.testing import open_test_server

HERE = Path(__file__).parent
USES = (HERE / "uses.txt").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")
CONTRACT = routes.contract()


def event(name: str, *, heard: bool = False, namespace: int = 0) -> EventContract:
    events = CONTRACT.namespaces[namespace].heard if heard else CONTRACT.namespaces[namespace].sent
    (found,) = [one for one in events if one.name == name]
    return found


def only(controller: object, **options: Any) -> dict[str, Any]:
    return RoutingTable(Route("/", controller, **options)).contract().json_schema()


# What it says.


def test_it_has_every_namespace_and_every_event_that_has_a_name() -> None:
    assert [(one.name, one.is_pattern, one.description) for one in CONTRACT.namespaces] == [
        ("/", False, "Where people talk."),
        ("/board", False, ""),
        (r"/room-(?P<id>\d+)", True, ""),
    ]
    sent = ["say", "find", "range", "order", "order again", "forget", "upload", "later", "untyped", "mixed"]
    assert [one.name for one in CONTRACT.namespaces[0].sent] == sent
    assert [one.name for one in CONTRACT.namespaces[0].heard] == ["question", "moved", "image", "pick", "said", "welcome"]


def test_arguments_have_names_places_and_may_be_left_out_where_there_is_a_default() -> None:
    find = event("find")
    assert find.description == "Find what was said."
    assert [(one.name, one.required) for one in find.arguments] == [("text", True), ("limit", False)]
    assert find.payload() == {
        "type": "array",
        "prefixItems": [{"title": "text", "type": "string"}, {"title": "limit", "type": "integer"}],
        "minItems": 1,
        "items": {"title": "tags", "type": "string"},
    }
    assert find.answer == [{"type": "array", "items": {"$ref": "#/$defs/Message"}}]


def test_what_is_heard_is_complete() -> None:
    question = event("question", heard=True)
    assert [(one.name, one.required) for one in question.arguments] == [("text", True), ("choices", True)]
    assert question.answer == [{"type": "integer"}]
    assert CONTRACT.schemas["Message"]["required"] == ["text", "kind", "replies"]
    assert CONTRACT.schemas["MessageInput"]["required"] == ["text"]
    replies = dict(CONTRACT.schemas["MessageInput"]["properties"]["replies"])
    # Since 0.23 msgspec tells what an empty list as `default_factory` makes; before that it says nothing of it.
    assert replies.pop("default", []) == []
    assert replies == {"type": "array", "items": {"$ref": "#/$defs/MessageInput"}}
    assert CONTRACT.schemas["Profile"]["required"] == ["name", "age", "friends"]
    assert CONTRACT.schemas["Profile"]["properties"]["friends"]["items"] == {"$ref": "#/$defs/Profile"}


def test_a_type_that_means_the_same_in_both_directions_is_one() -> None:
    assert {"Kind", "Place"} <= set(CONTRACT.schemas)
    assert not {"KindInput", "PlaceInput"} & set(CONTRACT.schemas)
    assert CONTRACT.schemas["Place"]["required"] == ["x", "y"]


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("forget", None),
        ("later", [{}]),
        ("untyped", [{}]),
        ("order", [{"$ref": "#/$defs/Order"}, {"enum": ["open", "paid"]}]),
        ("say", [{"anyOf": [{"type": "string"}, {"type": "null"}]}, {"$ref": "#/$defs/Message"}]),
        ("mixed", [{"anyOf": [{"type": "string"}, {"type": "string", "format": "binary"}]}]),
    ],
)
def test_an_answer_is_what_a_handler_returns_or_unknown(name: str, answer: object) -> None:
    assert event(name).answer == answer


def test_what_decorators_emit_by_name_is_what_handlers_return() -> None:
    assert [one.schema for one in event("moves", heard=True, namespace=1).arguments] == [{"$ref": "#/$defs/Place"}]
    assert event("welcome", heard=True).arguments[0].schema == {"type": "string"}


def test_two_handlers_that_emit_different_things_by_one_name_say_nothing_about_it() -> None:
    turned = event("turned", heard=True, namespace=1)
    assert turned.arguments == []
    assert turned.rest is not None
    assert turned.rest.schema == {}


class Anything:
    @on_message("a")
    async def a(self, mapping: dict[str, object], *args: object) -> list[object]:
        return [mapping, *args]


def test_an_object_is_anything_wherever_it_is() -> None:
    text = RoutingTable(Route("/", Anything)).contract().text("typescript")
    assert "[mapping: Record<string, unknown>, ...args_: unknown[], ack: " in text
    assert "ack: (answer: unknown[]) => void" in text


class Many:
    @on_message("a")
    @emits("words")
    async def a(self) -> tuple[str, ...] | None:
        return None

    @on_message("b")
    @emits("words")
    async def b(self) -> tuple[str, ...]:
        return ()

    @on_message("c")
    @emits("mixed")
    async def c(self) -> tuple[str, ...]:
        return ()

    @on_message("d")
    @emits("mixed")
    async def d(self) -> tuple[int, ...]:
        return ()

    @on_message("e")
    @emits("anything")
    async def e(self) -> tuple:  # type: ignore[type-arg]
        return ()


def test_any_number_of_values_are_heard_as_that() -> None:
    heard = {one.name: one for one in RoutingTable(Route("/", Many)).contract().namespaces[0].heard}
    assert all(one.arguments == [] for one in heard.values())
    assert {name: one.rest.schema for name, one in heard.items() if one.rest} == {"words": {"type": "string"}, "mixed": {}, "anything": {}}


def test_binary_data_and_bounds_are_what_they_are() -> None:
    assert event("image", heard=True).arguments[0].schema == {"type": "string", "format": "binary"}
    amount = CONTRACT.schemas["Order"]["properties"]["howMany"]
    assert amount == {"type": "integer", "minimum": 1, "maximum": 99, "description": "Not more than a hundred."}
    assert CONTRACT.schemas["Profile"]["properties"]["name"] == {"type": "string", "maxLength": 20}


@dataclass
class Note:
    text: str = ""


@dataclass
class NoteInput:
    note: Note


class Notes:
    @on_message("a")
    async def a(self, note: Note, other: NoteInput) -> Note:
        return note


def test_a_name_with_input_that_is_taken_is_not_taken_again() -> None:
    document = only(Notes)
    assert set(document["$defs"]) == {"Note", "NoteInput", "NoteInput_"}
    assert document["$defs"]["NoteInput"]["properties"] == {"note": {"$ref": "#/$defs/NoteInput_"}}
    note, other = document["namespaces"]["/"]["sent"]["a"]["arguments"]["prefixItems"]
    assert (note["$ref"], other["$ref"]) == ("#/$defs/NoteInput_", "#/$defs/NoteInput")


def test_a_return_annotation_that_is_for_type_checkers_only_says_nothing() -> None:
    class Forward:
        @on_message("a")
        async def a(self) -> Nowhere:  # type: ignore[name-defined]  # noqa: F821
            raise NotImplementedError

    assert only(Forward)["namespaces"]["/"]["sent"]["a"]["answer"]["prefixItems"] == [{}]


def test_it_is_about_events_only() -> None:
    assert RoutingTable().contract().json_schema() == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": {},
        "namespaces": {},
    }


def test_a_type_without_a_schema_is_named() -> None:
    class Odd(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
        module: ModuleType

    @server_event
    def odd(it: Odd) -> None: ...

    odd.function.__annotations__["it"] = Odd
    table = RoutingTable(Route("/board", Board, events=[odd]))
    with pytest.raises(RouteError, match="Odd has no JSON Schema"):
        table.contract()


class Board:
    @on_message("move")
    async def move(self) -> None: ...


# What others say about it.


@pytest.mark.needs("node", "typescript", "socket.io-client")
def test_typescript_finds_what_is_wrong_and_nothing_else(tmp_path: Path) -> None:
    found, said = find_faults(CONTRACT, USES, tmp_path)
    assert found == {number for number, line in enumerate(USES.splitlines(), 1) if line.endswith("; // wrong")}, said
    assert "contract.ts(" not in said


@pytest.mark.needs("node", "@asyncapi/parser")
def test_the_official_parser_takes_it_for_asyncapi() -> None:
    command = ["node", str(HERE / "asyncapi.cjs")]
    ran = subprocess.run(command, input=CONTRACT.text("asyncapi"), capture_output=True, text=True, check=True, cwd=ROOT, timeout=80)
    assert json.loads(ran.stdout) == {"valid": True, "errors": [], "addresses": ["/", "/board", "/room-{id}"]}


def test_asyncapi_has_an_operation_for_each_event_and_a_reply_for_each_answer() -> None:
    document = json.loads(CONTRACT.text("asyncapi"))
    say, forget, said = (document["operations"][name] for name in ("RootSentSay", "RootSentForget", "RootHeardSaid"))
    assert (say["action"], said["action"]) == ("receive", "send")
    assert say["reply"]["messages"] == [{"$ref": "#/channels/Root/messages/sentSayReply"}]
    assert "reply" not in forget
    assert document["channels"]["Root"]["messages"]["heardSaid"]["payload"]["prefixItems"][1] == {"$ref": "#/components/schemas/Message"}
    assert document["channels"]["RoomId"]["parameters"] == {"id": {"description": "A group of the pattern."}}


# The command, and the page.


@pytest.mark.parametrize("form", ["typescript", "asyncapi", "jsonschema"])
def test_the_command_prints_it_and_finds_what_has_changed(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["contract", "tests.contract.application:routes", "--format", form]
    assert cli.main(command) == 0
    text = capsys.readouterr().out
    file = tmp_path / "contract"
    file.write_text(text, encoding="utf-8")
    assert cli.main([*command, "--check", str(file)]) == 0
    assert capsys.readouterr().out == ""
    file.write_text(text.replace("Somebody has said", "Nobody has said"), encoding="utf-8")
    assert cli.main([*command, "--check", str(file)]) == 1
    output = capsys.readouterr()
    assert re.search(r"^-.*Nobody has said", output.out, re.MULTILINE)
    assert re.search(r"^\+.*Somebody has said", output.out, re.MULTILINE)
    assert f"is not what tests.contract.application:routes says; run `trio-sio {' '.join(command)} > {file}`." in output.err
    assert cli.main([*command, "--check", str(tmp_path / "missing")]) == 2
    assert "missing cannot be read: No such file or directory." in capsys.readouterr().err


class Opaque(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    module: ModuleType


class Opaquely:
    @on_message("a")
    async def a(self, value: Opaque) -> None: ...


opaque = RoutingTable(Route("/", Opaquely))


def test_the_command_says_in_a_sentence_what_cannot_be_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["contract", "tests.contract.test_contract:opaque"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("trio-sio: Opaque has no JSON Schema: ")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[ModuleType]:
    """The program of the page."""
    (block,) = re.findall(r"^```python\n# desk\.py\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    file = tmp_path / "desk.py"
    file.write_text(block, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("desk", file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["desk"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["desk"]


async def test_the_program_of_the_page_does_what_it_says(desk: ModuleType) -> None:
    async with open_test_server(desk.routes) as server, server.client("/desk") as client:
        client.on(desk.ask, lambda text: 41)
        assert await client.emit_with_ack("survey") == 42
        await client.emit("say", {"text": "hello"})
        assert await client.once(desk.said) == ("Ann", desk.Message("hello"))


def test_the_types_on_the_page_are_those_of_its_program(desk: ModuleType) -> None:
    (block,) = re.findall(r"^```typescript\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert block in desk.routes.contract().text("typescript")
