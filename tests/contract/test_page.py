"""The page about events: what it says, what it does not let happen, and where it is."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal

import msgspec
import pydantic
import pytest
import trio
import trio.lowlevel

from tests.browser import events_app
from tests.contract.application import routes
from trio_sio import Config, ConfigurationError, EngineServer, Route, RoutingTable, Server, Session, Socket, cli, on_message
from trio_sio.contract import Contract
from trio_sio.contract.examples import as_javascript, as_json, example_of
from trio_sio.contract.page import Surroundings, page
from trio_sio.protocol.http import Response
from trio_sio.testing.raw import RawHttp
from trio_sio.workers import serve as serve_workers

CONTRACT: Final = routes.contract()
HERE: Final = Surroundings("/events", "/socket.io", "socket.io.min.js", ("polling", "websocket"))
ASSETS: Final = Path(cli.__file__).parents[1] / "contract"
VOID: Final = {"meta", "link", "input", "img", "br"}


class Read(HTMLParser):
    """An HTML document, every element of which must be closed by its own tag."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[tuple[str, str]] = []  # by the element
        self.feed(response.body.decode())
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("p", "li"):  # which begins a line
            self.said.append((tag, " "))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said.append((self.open[-1] if self.open else "", data))

    def texts(self, tag: str) -> list[str]:
        """What the elements say."""
        return [text for where, text in self.said if where == tag]

    @property
    def ids(self) -> list[str]:
        return [str(attributes["id"]) for _, attributes in self.elements if "id" in attributes]

    @property
    def text(self) -> str:
        """What people read."""
        return " ".join("".join(text for tag, text in self.said if tag not in ("style", "script")).split())


def head_of(response: Response) -> dict[str, str]:
    return {name.decode().lower(): value.decode() for name, value in response.headers}


def data_of(response: Response) -> Any:
    (text,) = re.findall(r'<script type="application/json" id="contract">(.*?)</script>', response.body.decode(), re.DOTALL)
    return json.loads(text)


# What it says.


def test_every_event_is_there_with_its_arguments_and_answer() -> None:
    read = Read(page(CONTRACT, HERE))
    events = [event.name for namespace in CONTRACT.namespaces for event in (*namespace.sent, *namespace.heard)]
    assert [tag for tag, _ in read.elements].count("details") == len(events)
    assert set(events) <= set(read.texts("code"))
    assert "Find what was said." in read.text
    assert f"{len(events)} events in 3 namespaces" in read.text
    assert "howMany number whole · at least 1 · at most 99 Not more than a hundred." in read.text
    assert 'kind "image" | "text"' not in read.text  # a type with a name is a link to it
    assert 'color "black" | "red" may be left out · else "black"' in Read(page(events_app.routes.contract(), HERE)).text


def test_every_link_leads_somewhere_and_no_id_is_there_twice() -> None:
    read = Read(page(CONTRACT, HERE))
    links = [str(attributes["href"]) for tag, attributes in read.elements if tag == "a"]
    assert {link.removeprefix("#") for link in links} <= set(read.ids)
    assert len(read.ids) == len(set(read.ids))
    assert {"#type-0", "#types", "#n0-sent-0", "#n2-heard-0"} <= set(links)


def test_examples_are_what_one_would_write() -> None:
    text = Read(page(CONTRACT, HERE)).text
    assert 'const answer = await socket.emitWithAck("find", "text", 1, "text");' in text
    assert 'socket.emit("forget", "text");' in text
    assert 'socket.emitWithAck("upload", "text", new Uint8Array([0, 1, 2]), true);' in text
    assert "(text, choices, ack) => { // " in text
    assert "(place, ...others) => {" in text


def test_a_table_without_routes_has_a_page_that_says_so() -> None:
    assert (
        "0 events in 0 namespaces Without JavaScript the events can be read here, but not tried. No namespace is open to clients"
        in Read(page(RoutingTable().contract(), HERE)).text
    )


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer", "minimum": 5}, 5),
        ({"type": "integer", "exclusiveMinimum": 5}, 6),
        ({"type": "integer", "maximum": -3}, -3),
        ({"type": "number", "exclusiveMaximum": 0}, -1),
        ({"type": "string", "minLength": 6}, "textxx"),
        ({"type": "string", "maxLength": 2}, "te"),
        ({"type": "string", "format": "uuid"}, "00000000-0000-4000-8000-000000000000"),
        ({"type": "array", "items": {"type": "null"}, "minItems": 2}, [None, None]),
        ({"type": "array", "prefixItems": [{"type": "boolean"}], "items": {"not": {}}}, [True]),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {"key": 1}),
        ({"anyOf": [{"type": "null"}, {"type": "boolean"}]}, True),
        ({"type": ["string", "null"]}, "text"),
        ({"allOf": [{"properties": {"a": {"const": 1}}, "type": "object"}, {"$ref": "#/$defs/Empty"}]}, {"a": 1}),
        ({"type": "string", "examples": ["mine"]}, "mine"),
        ({"type": "string", "default": "given"}, "given"),
        ({}, None),
    ],
)  # fmt: skip
def test_an_example_fits(schema: dict[str, Any], value: object) -> None:
    assert example_of(schema, Contract([], {"Empty": {"type": "object"}})) == value


def test_an_example_of_a_type_that_contains_itself_comes_to_an_end() -> None:
    message = example_of({"$ref": "#/$defs/MessageInput"}, CONTRACT)
    assert message == {"text": "text", "kind": "text", "replies": []}
    node = {"type": "object", "properties": {"value": {"const": 1}, "next": {"$ref": "#/$defs/Node"}}, "required": ["value"]}
    assert example_of({"$ref": "#/$defs/Node"}, Contract([], {"Node": node})) == {"value": 1}


def test_bytes_are_base64_in_json_and_an_array_in_a_program() -> None:
    assert as_json({"data": b"\0\1\2"}) == '{"data": "AAEC"}'
    assert as_javascript({"data": b"\0\1\2"}) == '{"data": new Uint8Array([0, 1, 2])}'


# What it does not let happen.


@pytest.mark.hostile("D01")
def test_what_comes_from_a_program_is_text() -> None:
    hostile = '</script><script>document.title = "hacked"</script>'

    class Odd:
        __doc__ = f"{hostile} `<img src=x>` ``<b>``\n\n  <i>indented</i>\0"

        @on_message(f"{hostile}'\" onclick=x")
        async def odd(self, text: str = hostile) -> dict[str, str]:
            raise NotImplementedError

    odd = msgspec.defstruct("Odd<b>", [("field", str, msgspec.field(default=hostile, name="'><u>"))])
    odd.__doc__ = hostile
    Odd.odd.__annotations__["value"] = odd
    Odd.odd.__annotations__["return"] = odd
    response = page(RoutingTable(Route(f"/{hostile}", Odd)).contract(), HERE)
    read = Read(response)
    assert not {"b", "i", "u", "img"} & {tag for tag, _ in read.elements}
    assert [tag for tag, _ in read.elements].count("script") == 3
    assert not [name for _, attributes in read.elements for name in attributes if name.startswith("on") or name == "style"]
    assert read.text.count(hostile) >= 5
    assert data_of(response)["namespaces"][0]["name"] == f"/{hostile}"


@pytest.mark.hostile("D04")
def test_half_a_character_and_none_are_no_end_of_the_server() -> None:
    class Odd:
        """None: \0."""

        @on_message("half \ud83d \0")
        async def half(self, text: Literal["\0Kind\0"]) -> None:
            """Half."""

    Odd.half.__doc__ = "Half \ud83d."  # no compiler of Python 3.13 takes that where a docstring stands
    response = page(RoutingTable(Route("/", Odd)).contract(), HERE)
    assert "Half ?." in Read(response).text
    assert data_of(response)["namespaces"][0]["sent"][0]["name"] == "half \ud83d \0"


def test_nothing_runs_and_nothing_is_asked_for_but_what_is_ours() -> None:
    for client in ("socket.io.min.js", None):
        response = page(CONTRACT, HERE._replace(client=client))
        head, read = head_of(response), Read(response)
        policy = dict(part.strip().split(" ", 1) for part in head["content-security-policy"].split(";"))
        (style,) = read.texts("style")
        program = read.texts("script")[-1]
        assert policy["default-src"] == "'none'"
        assert policy["style-src"] == f"'{digest(style)}'"
        assert policy["script-src"] == ("'self' " if client else "") + f"'{digest(program)}'"
        assert policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert head["x-content-type-options"] == "nosniff"
        assert head["cache-control"] == "no-cache"
        asked = [value for _, attributes in read.elements for name, value in attributes.items() if name in ("src", "href") and value]
        scripts = [one for one in asked if not one.startswith(("#", "data:"))]
        assert scripts == (["./socket.io/socket.io.min.js"] if client else [])
        written = re.sub(r"(?s)<script type=.application/json.*?</script>|<pre>.*?</pre>", "", response.body.decode())
        assert re.findall(r"https?://[^'\" ]*", written) == ["http://www.w3.org/2000/svg"]  # a name, which nobody asks for


def digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def test_the_script_makes_no_markup_of_text_and_ends_no_element() -> None:
    script = (ASSETS / "page.js").read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc|</script|<!--", script)
    assert "</style" not in (ASSETS / "page.css").read_text(encoding="utf-8")


def test_it_is_small() -> None:
    assert sum((ASSETS / name).stat().st_size for name in ("page.css", "page.js")) < 34_000
    assert len(page(RoutingTable().contract(), HERE).body) < 36_000


def _luminance(color: str) -> float:
    digits = color.lstrip("#")
    digits = "".join(one * 2 for one in digits) if len(digits) == 3 else digits
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_what_is_written_can_be_read(mode: str) -> None:
    light, dark = re.findall(r":root \{(.*?)\}", (ASSETS / "page.css").read_text(encoding="utf-8"), re.DOTALL)
    colors = dict(re.findall(r"--([\w-]+): (#\w+);", light if mode == "light" else light + dark))

    def contrast(one: str, other: str) -> float:
        darker, lighter = sorted(_luminance(colors[name]) for name in (one, other))
        return (lighter + 0.05) / (darker + 0.05)

    for ink in ("ink", "muted", "accent", "heard", "bad"):
        for paper in ("ground", "surface", "sunken"):
            assert contrast(ink, paper) >= 4.5, (ink, paper)
    for ink, paper in (("sent", "sent-soft"), ("heard", "heard-soft"), ("accent-ink", "accent")):
        assert contrast(ink, paper) >= 4.5, (ink, paper)
    assert contrast("edge", "surface") >= 3  # what shows where a field is


# Where it is.


@pytest.mark.parametrize(
    ("path", "engine", "way"),
    [
        ("/events", "/socket.io", "./socket.io/"),
        ("/events", "/socket.io/", "./socket.io/"),
        ("/events/", "/socket.io", "./../socket.io/"),
        ("/a/b/events", "/a/io", "./../io/"),
        ("/socket.io/events", "/socket.io", "././"),
        ("/events", "/", "././"),
        ("/", "/socket.io", "./socket.io/"),
        ("/docs/events", "/deep/down/io", "./../deep/down/io/"),
    ],
)
def test_the_way_to_the_engine_is_relative(path: str, engine: str, way: str) -> None:
    assert HERE._replace(path=path, engine=engine).way == way


@pytest.mark.parametrize(
    ("config", "file"),
    [
        (Config(), None),
        (Config(serve_client="."), "socket.io.min.js"),
        (Config(serve_client=".", parser="msgpack"), "socket.io.msgpack.min.js"),
    ],
)
def test_the_client_is_the_one_that_speaks_as_the_server_does(config: Config, file: str | None) -> None:
    response = Server(routes, config=config).docs_page("/events")
    scripts = [attributes.get("src") for tag, attributes in Read(response).elements if tag == "script"]
    assert [one for one in scripts if one] == ([f"./socket.io/{file}"] if file else [])
    assert ("--client-bundle" in Read(response).text) is (file is None)


async def test_it_is_served_as_other_files_are() -> None:
    server = Server(config=Config(transports=("websocket",)))

    @server.on("late")
    def late(socket: Socket, text: str) -> None: ...

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(server.serve, "127.0.0.1", 0, docs_path="/events", health_path="/healthz"))
        async with RawHttp(await trio.open_tcp_stream("127.0.0.1", listeners[0].sockname[1])) as http:
            got = await http.request("GET", "/events")
            assert got.status == 200
            assert got.headers["content-type"] == "text/html; charset=utf-8"
            assert b">late</code>" in got.body
            assert b'"transports":["websocket"]' in got.body
            tag = got.headers["etag"]
            known = await http.request("GET", "/events", headers={"If-None-Match": f'"other", W/{tag}'})
            assert (known.status, known.body, known.headers["etag"]) == (304, b"", tag)
            assert (await http.request("GET", "/events", headers={"If-None-Match": '"other"'})).status == 200
            head = await http.request("HEAD", "/events")
            assert (head.status, head.body, head.headers["content-length"]) == (200, b"", got.headers["content-length"])
            assert (await http.request("POST", "/events", body=b"")).status == 405
            assert (await http.request("GET", "/events/")).status == 404
            assert (await http.request("GET", "/healthz")).status == 200
        nursery.cancel_scope.cancel()


@pytest.mark.hostile("D05")
async def test_who_asks_by_a_name_that_is_none_of_ours_reads_nothing() -> None:
    server = Server(routes, config=Config(allowed_hosts=["localhost"]))
    async with trio.open_nursery() as nursery:
        serve = partial(server.serve, "127.0.0.1", 0, docs_path="/events", health_path="/healthz")
        listeners = await nursery.start(serve)
        async with RawHttp(await trio.open_tcp_stream("127.0.0.1", listeners[0].sockname[1])) as http:
            refused = await http.request("GET", "/events", headers={"Host": "rebound.example", "If-None-Match": "*"})
            assert refused.status == 403
            assert b"find" not in refused.body
            assert (await http.request("GET", "/events", headers={"Host": "localhost:3000"})).status == 200
            assert (await http.request("GET", "/healthz", headers={"Host": "10.0.0.1"})).status == 200
        nursery.cancel_scope.cancel()


def test_each_worker_makes_the_same_page() -> None:
    program = (
        "from tests.contract.application import routes as r; from trio_sio import Server; print(Server(r).docs_page('/events').headers)"
    )
    made = set()
    for seed in "12":
        environment = os.environ | {"PYTHONHASHSEED": seed}
        ran = subprocess.run([sys.executable, "-c", program], env=environment, cwd=ASSETS.parents[1], capture_output=True, check=True)
        made.add(ran.stdout)
    assert len(made) == 1
    assert b"ETag" in made.pop()


async def test_it_is_off_unless_asked_for() -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(Server(routes).serve, "127.0.0.1", 0)
        async with RawHttp(await trio.open_tcp_stream("127.0.0.1", listeners[0].sockname[1])) as http:
            assert (await http.request("GET", "/events")).status == 404
        nursery.cancel_scope.cancel()


WRONG: Final = [
    ("events", {}, "which is no path of letters"),
    ("", {}, "which is no path of letters"),
    ("/a b", {}, "which is no path of letters"),
    ("/a?b", {}, "which is no path of letters"),
    ("/a%20b", {}, "which is no path of letters"),
    ("//events", {}, "which is no path of letters"),
    ("/../events", {}, "which is no path of letters"),
    ("/événements", {}, "which is no path of letters"),
    ("/socket.io", {}, "where the engine is"),
    ("/socket.io/", {}, "where the engine is"),
    ("/socket.io/socket.io.js", {"bundle": True}, "where the official client is"),
    ("/healthz", {"health_path": "/healthz"}, "which is the health_path, too"),
    ("/page.txt", {"static": True}, "where the static files have one"),
    ("/sub", {"static": True}, "where the static files have one"),
    ("/", {"static": True}, "where the static files have one"),
]


@pytest.fixture
def static(tmp_path: Path) -> Path:
    """Return a directory of files."""
    (tmp_path / "sub").mkdir()
    for name in ("index.html", "page.txt", "sub/index.html"):
        (tmp_path / name).write_text("there")
    return tmp_path


@pytest.mark.parametrize(("path", "others", "sentence"), WRONG)
async def test_a_path_that_cannot_be_is_refused_with_a_sentence(path: str, others: dict[str, Any], sentence: str, static: Path) -> None:
    options = others | ({"static": static} if "static" in others else {})
    config = Config(serve_client=str(static) if options.pop("bundle", False) else None)
    with pytest.raises(ConfigurationError) as refused, trio.fail_after(5):
        await Server(routes, config=config).serve("127.0.0.1", 0, docs_path=path, **options)
    assert str(refused.value).startswith(f"docs_path is {path!r}, {sentence}")
    assert str(refused.value).endswith('such as "/events".')


@pytest.mark.parametrize(
    "path",
    ["/", "/sub/page", "/elsewhere", "/socket.iox", "/socket.io/events", "/socket.io/socket.io.js", "/.well-known/events", "/a.b~c_d-e/"],
)
async def test_every_other_path_is_one(path: str, tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        serve = partial(Server(routes).serve, "127.0.0.1", 0, docs_path=path, static=tmp_path)
        listeners = await nursery.start(serve)
        async with RawHttp(await trio.open_tcp_stream("127.0.0.1", listeners[0].sockname[1])) as http:
            assert (await http.request("GET", path)).status == 200
        nursery.cancel_scope.cancel()


async def test_there_is_no_room_for_it_beside_an_engine_that_has_all() -> None:
    with pytest.raises(ConfigurationError, match="where the engine is"):
        await Server(routes, config=Config(path="/")).serve("127.0.0.1", 0, docs_path="/")


async def test_an_engine_server_has_no_events() -> None:
    with pytest.raises(ConfigurationError, match="an EngineServer has no events; leave it out"):
        await EngineServer(_converse).serve("127.0.0.1", 0, docs_path="/events")


async def _converse(session: Session) -> None:
    await trio.lowlevel.checkpoint()


async def test_workers_refuse_it_likewise() -> None:
    with pytest.raises(ConfigurationError, match=r"docs_path is 'events', which is no path"):
        await serve_workers(_routes, "127.0.0.1", 0, workers=1, docs_path="events")


def _routes() -> RoutingTable:
    return routes


async def test_a_type_that_cannot_be_described_is_named() -> None:
    server = Server()

    @server.on("opaque")
    def opaque(socket: Socket, value: _Opaque) -> None: ...

    with pytest.raises(
        ConfigurationError, match=r"^docs_path is '/events', and the events cannot be described: _Opaque has no JSON Schema"
    ):
        await server.serve("127.0.0.1", 0, docs_path="/events")


class _Opaque(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    module: ModuleType


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--docs-path", "events"], "docs_path is 'events', which is no path"),
        (["--docs-path", "/events", "--door", "hypercorn"], "--door hypercorn has no --docs-path; leave it out, "),
        (["--docs-path", "/healthz", "--health-path", "/healthz"], "docs_path is '/healthz', which is the health_path, too; "),
    ],
)
def test_the_command_says_it_in_a_sentence(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "tests.contract.application:routes", "--port", "0", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"trio-sio: {sentence}")
    assert error.count("\n") == 1
