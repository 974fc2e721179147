"""``trio-sio connect`` against a real server, in this process: what a script does, what is printed, and the exit code."""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import re
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.cli.serving import AUTHORITY, BOUND, EVIL, EVIL_SHOWN, Site
from tests.client.fake_server import Connection, open_packet
from trio_sio.cli import main
from trio_sio.cli.connect import add_connect_options, connect_command


class Ran:
    """What a run of the command has printed, and how it ended."""

    def __init__(self, code: object, out: str, err: str) -> None:
        self.code = code
        self.out = out.splitlines()
        self.err = err

    @property
    def news(self) -> list[str]:
        """The lines without states, and with ``(ms)`` for each latency."""
        return [re.sub(r"\(\d+\.\d ms\)", "(ms)", line) for line in self.out if not line.startswith("-- ")]


Run = Callable[..., Ran]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run ``trio-sio connect`` in this process."""

    def run(*arguments: str) -> Ran:
        capfd.readouterr()
        try:
            code: object = main(["connect", *arguments])
        except SystemExit as exc:
            code = exc.code
        return Ran(code, *capfd.readouterr())

    return run


# Scripts.


def test_steps_are_done_in_order(site: Site, run: Run) -> None:
    ran = run(
        site.url("http"), "--emit", "say 1", "--expect", "said 1", "--emit", 'echo? "a" {"b": null}', "--emit", "echo?", "--emit", "say 2"
    )
    assert (ran.code, ran.err) == (0, "")
    # An upgrade may come before the first line is printed.
    assert re.fullmatch(r"-- connected id=[\w-]{20} transport=(polling|websocket)", ran.out[0])
    assert ran.news[:3] == ["<- said 1", '<- ack echo (ms) "a" {"b": null}', "<- ack echo (ms) null"]


def test_a_script_that_ends_has_sent_everything(site: Site, run: Run) -> None:
    assert run(site.url("http"), "--auth", '{"label": "said"}', "--emit", "say 1").code == 0
    assert site.reason("said") == "client namespace disconnect"
    assert run(site.url("http"), "--auth", '{"label": "noted"}', "--emit", 'note "noted" 5').code == 0
    assert site.reason("noted") == "client namespace disconnect"
    assert site.notes["noted"] == [5]


def test_what_comes_first_is_that_it_is_connected(site: Site, run: Run) -> None:
    for _ in range(6):  # two tasks print, and either may run first
        ran = run(site.url("http"), "--auth", '{"label": "new"}', "--transport", "websocket", "--expect", "welcome")
        assert [line.split()[1] for line in ran.out] == ["connected", "welcome"]


def test_ack_is_for_every_event(site: Site, run: Run) -> None:
    ran = run(site.url("http"), "--ack", "--emit", "echo 1", "--emit", "echo 2", "--transport", "websocket")
    assert ran.news == ["<- ack echo (ms) 1", "<- ack echo (ms) 2"]
    assert ran.out[0].endswith("transport=websocket")


def test_an_event_may_come_before_its_turn(site: Site, run: Run) -> None:
    ran = run(site.url("http"), "--ack", "--emit", "say 1", "--emit", "say 2", "--expect", "said 2", "--expect", "said 1")
    assert (ran.code, ran.err) == (0, "")


@pytest.mark.slow
def test_an_event_meets_one_expectation(site: Site, run: Run) -> None:
    ran = run(site.url("http"), "--emit", "say 1", "--expect", "said", "--expect", "said", "--timeout", "2")
    assert (ran.code, ran.err) == (1, "trio-sio: No event like 'said' came within 2 seconds.\n")
    assert run(site.url("http"), "--emit", "say 1", "--emit", "say 1", "--expect", "said", "--expect", "said").code == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(
            ["--emit", "say 1", "--expect", "said 2", "--timeout", "2"],
            "No event like 'said 2' came within 2 seconds.",
            marks=pytest.mark.slow,
        ),
        pytest.param(["--emit", "never?", "--timeout", "2"], "'never?' was not acknowledged within 2 seconds.", marks=pytest.mark.slow),
        (["--emit", "bye", "--expect", "said"], "The server has disconnected this client."),
        (["--emit", "bye", "--emit", "never?"], "The server has disconnected this client."),
    ],
)
def test_what_does_not_come_is_1(site: Site, run: Run, arguments: list[str], sentence: str) -> None:
    ran = run(site.url("http"), *arguments)
    assert (ran.code, ran.err) == (1, f"trio-sio: {sentence}\n")
    if "bye" in arguments:
        # An upgrade may be through in between.
        assert (ran.news[-1], ran.out[-1]) == ('<- "last words"', "-- ended: io server disconnect")


@pytest.mark.parametrize("steps", [["--expect", "x"], ["--emit", "x?"]])
def test_who_is_sent_away_at_once_is_1(site: Site, run: Run, steps: list[str]) -> None:
    for transport in ["polling", "websocket"] * 5:  # it may be over before the first line is printed
        ran = run(site.url("http"), "--namespace", "/fragile", "--transport", transport, *steps)
        assert (ran.code, ran.err) == (1, "trio-sio: The server has disconnected this client.\n")
        assert [line for line in ran.out if "connected" not in line] == ["-- ended: io server disconnect"]


async def test_a_server_that_says_goodbye_instead_of_an_answer_is_1(capfd: pytest.CaptureFixture[str]) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        connection = Connection(stream)
        with contextlib.suppress(trio.EndOfChannel):
            while True:
                request = await connection.request()
                if request.method == "POST":
                    await connection.respond()
                    joining.set()
                elif "sid" in request.query:
                    await joining.wait()
                    await connection.respond(b"41")
                else:
                    await connection.respond(open_packet())

    joining = trio.Event()

    parser = argparse.ArgumentParser()
    add_connect_options(parser)
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
            url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
            options = parser.parse_args([url, "--transport", "polling", "--expect", "x"])
            assert await connect_command(options) == 1
            nursery.cancel_scope.cancel()
    assert capfd.readouterr() == ("", "trio-sio: The server has disconnected this client.\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--emit", "say hello"], "error: argument --emit: 'hello' is not JSON; write text in quotes: \"hello\"."),
        (["--expect", "said?"], "error: argument --expect: 'said?' has a '?' behind the name, which is for --emit; "),
        (["--auth", "[1]"], 'error: argument --auth: \'[1]\' is not a JSON object; write it as in {"token": "secret"}'),
        (["--auth", "secret"], "error: argument --auth: 'secret' is not JSON; write text in quotes: \"secret\"."),
        (["--transport", "websocket,carrier-pigeon"], "error: argument --transport: 'carrier-pigeon' is not a transport; "),
        (["--header", "Bearer abc"], "error: argument --header: 'Bearer abc' is not a header field; "),
        (["--query", "room"], "error: argument --query: 'room' is not a query parameter; "),
        (["--timeout", "soon"], "error: argument --timeout: 'soon' is not a number of seconds above 0"),
        (["--timeout", "0"], "error: argument --timeout: '0' is not a number of seconds above 0"),
        (["--parser", "xml"], "error: argument --parser: invalid choice: 'xml'"),
        (["--cacert", "missing"], "error: argument --cacert: 'missing' is not a file"),
        (["--cacert", __file__], "trio-sio: There is no certificate in PEM in "),
        (["--namespace", "chat", "--emit", "x"], "trio-sio: 'chat' is no namespace: "),
        (["--emit", "connect"], "trio-sio: The event name 'connect' is reserved; choose another one."),
    ],
)
def test_wrong_usage_is_2(site: Site, run: Run, arguments: list[str], sentence: str) -> None:
    ran = run(site.url("http"), *arguments)
    assert ran.code == 2
    assert sentence in ran.err


def test_no_address_is_2(run: Run) -> None:
    ran = run("localhost:3000", "--emit", "x")
    assert ran.code == 2
    assert ran.err.startswith("trio-sio: The URL 'localhost:3000' is not complete; ")


def test_no_connection_is_3(site: Site, run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unheard:
        port = unheard.getsockname()[1]
        slow = run(f"http://127.0.0.1:{port}", "--emit", "x", "--timeout", "0.3")
    nobody = run(f"http://127.0.0.1:{port}", "--emit", "x")
    wrong = run(site.url("http"), "--path", "/wrong", "--emit", "x")
    assert [ran.code for ran in (slow, nobody, wrong)] == [3, 3, 3]
    assert [ran.out for ran in (slow, nobody, wrong)] == [[], [], []]
    assert nobody.err.startswith(f"trio-sio: No connection to http://127.0.0.1:{port}/socket.io/: ")
    assert "404" in wrong.err


def test_a_refusal_is_4_and_json(site: Site, run: Run) -> None:
    ran = run(site.url("http"), "--namespace", "/private", "--auth", '{"token": "guess"}', "--emit", "x")
    assert (ran.code, ran.out) == (4, [])
    assert ran.err.isascii()
    assert json.loads(ran.err) == {"message": f"bad token {EVIL}", "data": {"code": 4001, "hint": EVIL}}


def test_what_the_server_sees(site: Site, run: Run) -> None:
    arguments = ["--header", "X-Mine: a: b", "--header", "Cookie: one=1; two=2", "--query", "room=a=b", "--query", "empty="]
    arguments += ["--auth", '{"token": "secret"}', "--namespace", "/private"]
    ran = run(site.url("http"), *arguments, "--emit", "seen?", "--json")
    [ack] = [line for line in map(json.loads, ran.out) if line["type"] == "ack"]
    seen = {"auth": {"token": "secret"}, "header": "a: b", "cookies": {"one": "1", "two": "2"}, "query": {"room": "a=b", "empty": ""}}
    assert ack["args"] == [seen]
    assert ran.code == 0


@pytest.mark.parametrize(
    ("options", "transports"), [(["polling"], ["polling"]), (["websocket"], ["websocket"]), (["websocket,polling"], ["websocket"])]
)
def test_transports(site: Site, run: Run, options: list[str], transports: list[str]) -> None:
    arguments = [part for option in options for part in ("--transport", option)]
    # Two round trips, so that an upgrade would have been seen.
    ran = run(site.url("http"), *arguments, "--ack", "--emit", "echo", "--emit", "echo", "--emit", "echo", "--json")
    states = [line for line in map(json.loads, ran.out) if line["type"] == "state"]
    assert [state["transport"] for state in states] == transports


def test_messagepack(site: Site, run: Run) -> None:
    ran = run(site.url("msgpack"), "--path", "/io", "--parser", "msgpack", "--emit", 'echo? {"a": [1, "é"]}', "--emit", "binary?")
    assert (ran.code, ran.err) == (0, "")
    assert '<- ack echo (ms) {"a": [1, "é"]}' in ran.news
    assert "<- ack binary (ms) <1 byte: 07>" in ran.news


def test_tls(site: Site, run: Run, tmp_path: Path) -> None:
    AUTHORITY.cert_pem.write_to_path(tmp_path / "authority.pem")
    arguments = ["--emit", "echo? 1", "--timeout", "5"]
    trusting = run(site.url("tls"), "--cacert", str(tmp_path / "authority.pem"), *arguments)
    assert (trusting.code, trusting.err, trusting.news) == (0, "", ["<- ack echo (ms) 1"])
    suspicious = run(site.url("tls"), *arguments)
    assert suspicious.code == 3
    assert "is not trusted" in suspicious.err
    unencrypted = run(site.url("http"), "--cacert", str(tmp_path / "authority.pem"), *arguments)
    assert unencrypted.code == 2


def test_hostile_text_commands_nothing(site: Site, run: Run) -> None:
    ran = run(site.url("http"), "--emit", "evil?", "--expect", json.dumps(EVIL))
    assert ran.code == 0
    assert all(line.isprintable() for line in ran.out)
    assert sorted(ran.news) == [f'<- "{EVIL_SHOWN}" "{EVIL_SHOWN}" {{"{EVIL_SHOWN}": 1}}', f'<- ack evil (ms) "{EVIL_SHOWN}"']


def test_json(site: Site, run: Run) -> None:
    steps = ["--emit", "binary?", "--expect", "data", "--emit", "evil?", "--emit", "bye", "--expect", "x"]
    ran = run(site.url("http"), "--json", "--transport", "polling", *steps)
    assert ran.code == 1
    assert all(line.isascii() for line in ran.out)
    lines = [json.loads(line) for line in ran.out]
    assert lines[0] == {"type": "state", "state": "connected", "id": lines[0]["id"], "recovered": False, "transport": "polling"}
    assert lines[-1] == {"type": "state", "state": "ended", "reason": "io server disconnect", "error": None}
    events = [(line["event"], line["args"]) for line in lines if line["type"] == "event"]
    more = {"more": {"base64": base64.b64encode(bytes(40)).decode()}}
    assert events == [("data", [{"base64": "AQL/"}, more]), (EVIL, [EVIL, {EVIL: 1}]), ("last words", [])]
    acks = [line for line in lines if line["type"] == "ack"]
    assert [(ack["event"], ack["args"]) for ack in acks] == [("binary", [{"base64": "Bw=="}]), ("evil", [EVIL])]
    assert all(0 < ack["latency"] < BOUND for ack in acks)


def test_help_tells_notation_and_exit_codes(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    ran = run("--help")
    assert ran.code == 0
    beginnings = ('  event {"json": 1} [2]   emit an event: ', "exit codes:", "  4    refused by the server; ", "  130  ", "  141  ")
    for line in beginnings:
        assert any(one.startswith(line) for one in ran.out)
