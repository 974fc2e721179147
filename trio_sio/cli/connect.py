"""``trio-sio connect URL``: talks to a server, by hand or in a script."""

from __future__ import annotations

import argparse
import contextlib
import signal
import ssl
import sys
import textwrap
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

from ..client import Reconnection, open_client
from ..config import TRANSPORTS
from ..errors import ConfigurationError, ConnectFailed, ConnectionRefused, Disconnected
from ..protocol.parsers import PARSERS
from .console import HELP, type_events
from .conversation import Conversation, ExitCode, explain
from .interrupts import until_interrupted
from .notation import parse_event, parse_json
from .output import Output, complain
from .script import Emit, Expect, meet, run_steps
from .usage import UsageError, file

__all__ = ["add_connect_options", "connect_command"]


_EPILOG: Final = f"""\
Without --emit and --expect every line of the standard input is an event, or a command:

{textwrap.indent(HELP, "  ")}

With them they are done one after another, in the order of the command line, and then the client leaves. An event
of the server meets one --expect at most, the first that it fits: with the same name, and with the same arguments as
far as some are given. It may have come before its turn.

What the server sends is printed as it comes; nothing in it can command the terminal. An ack's latency is the time
from emitting to the acknowledgement.

exit codes:
  0    everything was done; or, without --emit and --expect, the end of the input, /quit, or Ctrl-C
  1    an event or an acknowledgement did not come in time, the server disconnected this client, or the standard
       input cannot be read or the output written
  2    wrong usage
  3    no connection
  4    refused by the server; its message and data are printed as JSON on the standard error stream
  130  Ctrl-C with --emit or --expect
  141  nobody reads the output any more
"""


def add_connect_options(parser: argparse.ArgumentParser) -> None:
    """Add what `connect_command` takes."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.set_defaults(steps=[])
    parser.add_argument("url", metavar="URL", help="such as http://localhost:3000 or wss://chat.example")
    parser.add_argument("--namespace", default="/", help="namespace to join (%(default)s)")
    parser.add_argument("--auth", type=_json_object, metavar="JSON", help="credentials, a JSON object")
    parser.add_argument(
        "--timeout", type=_seconds, default=10, metavar="SECONDS", help="for connecting, each ack and each --expect (%(default)s)"
    )
    parser.add_argument("--no-reconnect", action="store_true", help="end when the connection is lost")
    parser.add_argument(
        "--json", action="store_true", help='print JSON, one object per line; bytes are {"base64": "..."}, latency is in seconds'
    )
    group = parser.add_argument_group("what to do, instead of reading the standard input")
    group.add_argument(
        "--emit", type=_emit, action="append", dest="steps", metavar="EVENT", help="emit an event, written as below; may be repeated"
    )
    group.add_argument(
        "--expect", type=_expect, action="append", dest="steps", metavar="EVENT", help="wait until such an event has come; may be repeated"
    )
    group.add_argument("--ack", action="store_true", help="have every event acknowledged, as with a ? behind its name")
    group = parser.add_argument_group("how to connect")
    group.add_argument("--path", default="/socket.io", help="URL path of the server's engine (%(default)s)")
    group.add_argument(
        "--transport",
        type=_transports,
        action="extend",
        metavar="NAMES",
        help=f"what to try, in this order, with commas between them ({','.join(TRANSPORTS)})",
    )
    group.add_argument(
        "--header", type=_header, action="append", default=[], metavar="NAME: VALUE", help="header field of every request; may be repeated"
    )
    group.add_argument(
        "--query",
        type=_parameter,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="query parameter of every request; may be repeated",
    )
    group.add_argument(
        "--parser", choices=list(PARSERS), default="json", help="how packets are written; as the server's Config.parser (%(default)s)"
    )
    group.add_argument(
        "--cacert", type=file, metavar="FILE", help="trust the certificate authorities in this file (PEM) instead of the system's"
    )


# Types of options.


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        seconds = float(text)
        if seconds > 0:
            return seconds
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")


def _json_object(text: str) -> dict[str, object]:
    try:
        value = parse_json(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if isinstance(value, dict):
        return value
    raise argparse.ArgumentTypeError(f'{text!r:.60} is not a JSON object; write it as in {{"token": "secret"}}')


def _emit(text: str) -> Emit:
    try:
        return Emit(parse_event(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _expect(text: str) -> Expect:
    written = _emit(text).written
    if written.wants_ack:
        raise argparse.ArgumentTypeError(
            f"{text!r:.60} has a '?' behind the name, which is for --emit; put a name that ends with it in quotes"
        )
    return Expect(written)


def _transports(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in TRANSPORTS:
            raise argparse.ArgumentTypeError(f"{name!r} is not a transport; choose from {', '.join(TRANSPORTS)}")
    return names


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if name and colon:
        return name, value.strip()
    raise argparse.ArgumentTypeError(f"{text!r:.60} is not a header field; write it as in 'Authorization: Bearer abc'")


def _parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if name and equals:
        return name, value
    raise argparse.ArgumentTypeError(f"{text!r:.60} is not a query parameter; write it as in room=lobby")


# The command.


async def connect_command(options: argparse.Namespace) -> int:
    """Connect, talk, and return the exit code; after Ctrl-C, too, with which the server still hears a goodbye."""
    return await until_interrupted(partial(_connect, options), 128 + signal.SIGINT if options.steps else ExitCode.OK)


async def _connect(options: argparse.Namespace) -> int:
    if sys.stdin is None or sys.stdout is None:
        # The numbers of their descriptors would soon be those of sockets.
        raise UsageError("The standard input or output is closed; redirect it to /dev/null instead.")
    headers = [(name, value) for name, value in options.header if name.lower() != "cookie"]
    output = Output(sys.stdout.fileno(), sys.stdout.encoding, as_json=options.json)
    code = ExitCode.OK
    try:
        async with open_client(
            options.url,
            options.namespace,
            auth=options.auth,
            path=options.path,
            transports=options.transport or TRANSPORTS,
            query=dict(options.query),
            headers=dict(headers),
            cookies=_cookies(options.header),
            ssl_context=_trust(options.cacert),
            connect_timeout=options.timeout,
            reconnection=None if options.no_reconnect else Reconnection(),
            parser=options.parser,
        ) as socket:
            with output.scope:
                code = await _talk(Conversation(socket, output, options.timeout), options)
    except ConfigurationError as error:
        raise UsageError(str(error)) from None
    except (ConnectFailed, ConnectionRefused) as error:
        return explain(error)
    except Disconnected:
        return explain(None)  # sent away before it was let in
    match output.fault:
        case None:
            return code
        case BrokenPipeError():
            # As the shell reports every program whose output nobody wants any more.
            return 128 + signal.SIGPIPE
        case fault:
            complain(f"The standard output cannot be written: {fault.strerror}.")
            return ExitCode.FAILED


async def _talk(conversation: Conversation, options: argparse.Namespace) -> ExitCode:
    steps: list[Emit | Expect] = options.steps
    if not steps:
        return await conversation.run(partial(type_events, conversation, sys.stdin.fileno(), sys.stdin.encoding, ack=options.ack))
    if options.ack:
        steps = [Emit(step.written._replace(wants_ack=True)) if isinstance(step, Emit) else step for step in steps]
    conversation.on_event = partial(meet, steps)
    return await conversation.run(partial(run_steps, conversation, steps, options.timeout))


def _cookies(headers: list[tuple[str, str]]) -> Mapping[str, str]:
    """Return the cookies among ``headers``: the client adds those that the server sets."""
    pairs = [pair.strip().partition("=") for name, value in headers if name.lower() == "cookie" for pair in value.split(";")]
    return {name: value for name, equals, value in pairs if equals}


def _trust(authorities: Path | None) -> ssl.SSLContext | None:
    if authorities is None:
        return None
    try:
        return ssl.create_default_context(cafile=authorities)
    except ssl.SSLError:
        raise UsageError(f"There is no certificate in PEM in {str(authorities)!r}.") from None
    except OSError as error:
        raise UsageError(f"{str(authorities)!r} cannot be read: {error.strerror}.") from None
