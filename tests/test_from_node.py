"""What docs/from-node.md says: its programs run, what it names exists, and it leaves nothing of Node's API out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import trio_sio
from trio_sio import BroadcastOperator, Config, Limits, Recovery, RemoteSocket, Server, Session, Socket

PAGE = (Path(__file__).parent.parent / "docs" / "from-node.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)

# Of Socket.IO 4.8 and Engine.IO 6.6, by the section of the page.
MEMBERS = {
    "Server": """
        attach listen attachApp bind path connectTimeout serveClient adapter of use to in except compress volatile local timeout emit
        send write serverSideEmit serverSideEmitWithAck fetchSockets socketsJoin socketsLeave disconnectSockets allSockets close sockets
        engine httpServer connect connection new_namespace
    """,
    "Namespace": """
        name sockets adapter server ParentNamespace cleanupEmptyChildNamespaces create-room join-room leave-room delete-room rooms sids
    """,
    "Socket": """
        id handshake data rooms connected disconnected recovered nsp client conn request emit emitWithAck timeout volatile compress
        broadcast to in except local send write join leave disconnect use on off once onAny prependAny offAny listenersAny onAnyOutgoing
        prependAnyOutgoing offAnyOutgoing listenersAnyOutgoing disconnecting error
    """,
    "Operators and remote sockets": """
        to in except compress volatile local timeout emit emitWithAck fetchSockets socketsJoin socketsLeave disconnectSockets
        RemoteSocket id handshake rooms data join leave disconnect
    """,
    "Options": """
        path serveClient adapter parser connectTimeout connectionStateRecovery pingInterval pingTimeout upgradeTimeout maxHttpBufferSize
        allowRequest transports allowUpgrades perMessageDeflate httpCompression wsEngine cookie cors allowEIO3 initialPacket
        addTrailingSlash destroyUpgrade destroyUpgradeTimeout
    """,
    "Engine": """
        clients clientsCount use generateId upgrades handleRequest handleUpgrade attach close onWebTransportSession opts errors
        connection connection_error initial_headers headers flush drain
    """,
}

_SERVER = Server()

# How the page calls an object -> the object, or its class.
OBJECTS: dict[str, Any] = {
    "server": _SERVER,
    "namespace": _SERVER.of("/"),
    "adapter": _SERVER.of("/").adapter,
    "engine": _SERVER.engine,
    "socket": Socket,
    "op": BroadcastOperator,
    "remote": RemoteSocket,
    "session": Session,
    "Config": Config(),
    "Limits": Limits(),
    "Recovery": Recovery(),
}
# What instances have and their class does not tell.
INSTANCE_ATTRIBUTES = {"socket": {"data", "handshake", "params", "recovered", "client"}}


def section(title: str) -> str:
    return re.split(r"^## ", PAGE.partition(f"\n## {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def cells(text: str, column: int) -> str:
    """The cells of one column of a section's tables."""
    return "\n".join(line.split("|")[column] for line in text.splitlines() if line.startswith("|"))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.splitlines()[0][2:])
def test_a_program_runs(program: str) -> None:
    # Each of them checks what it shows.
    exec(compile(program, "from-node.md", "exec", dont_inherit=True), {"__name__": "__main__"})


def test_there_are_programs_and_all_of_them_run_something() -> None:
    assert len(PROGRAMS) == PAGE.count("```python") == PAGE.count("trio.run(main)")


@pytest.mark.parametrize("title", MEMBERS)
def test_nothing_of_node_is_left_out(title: str) -> None:
    named = set(re.findall(r"[\w-]+", " ".join(re.findall(r"`([^`]+)`", cells(section(title), 1)))))

    assert [member for member in MEMBERS[title].split() if member not in named] == []


@pytest.mark.parametrize("title", MEMBERS)
def test_what_it_names_exists(title: str) -> None:
    text = section(title)
    names = re.findall(rf"\b({'|'.join(OBJECTS)})\.(\w+)", " ".join(re.findall(r"`([^`]+)`", cells(text, 2) + cells(text, 3))))

    assert names
    for owner, name in names:
        assert hasattr(OBJECTS[owner], name) or name in INSTANCE_ATTRIBUTES.get(owner, ()), f"{owner}.{name}"


def test_the_classes_it_names_are_public() -> None:
    found = set(re.findall(r"`([A-Z]\w+)\b(?:\([^`]*\))?`", cells(PAGE, 2)))

    assert found == {name for name in found if hasattr(trio_sio, name)}
    assert {"BroadcastOperator", "RemoteSocket"} <= found
