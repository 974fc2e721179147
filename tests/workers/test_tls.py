"""TLS at several workers: what is encrypted stays where it was accepted, so that is for WebSockets alone."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
from collections import Counter
from pathlib import Path

import pytest
import trio
import trustme

from tests.conftest import require_tool
from tests.workers import app
from tests.workers.processes import ROOT, eventually, is_alive, open_command, open_workers

CLIENT = Path(__file__).parent / "secure.cjs"
CLIENTS = 12

pytestmark = pytest.mark.slow


def write_certificate(authority: trustme.CA, directory: Path) -> None:
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(directory / "key.pem")
    (directory / "chain.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    authority.cert_pem.write_to_path(directory / "authority.pem")


async def certificate_of(port: int, authority: Path) -> bytes:
    """Return what a server shows who it is."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with trio.SSLStream(stream, ssl.create_default_context(cafile=authority), server_hostname="localhost") as encrypted:
        await encrypted.do_handshake()
        shown: bytes = encrypted.getpeercert(binary_form=True)
    return shown


async def ask_for_sessions(port: int, authority: Path) -> None:
    """Ask for sessions of nobody, whose ids are of either worker: whoever is asked answers, since nothing can be handed over."""
    for number in range(4):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        context = ssl.create_default_context(cafile=authority)
        async with trio.SSLStream(stream, context, server_hostname="localhost", https_compatible=True) as encrypted:
            target = f"/socket.io/?EIO=4&transport=websocket&sid={number}"
            await encrypted.send_all(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            assert (await encrypted.receive_some()).startswith(b"HTTP/1.1 400 ")


async def play(port: int, authority: Path) -> None:
    """Let official clients be at both workers, and hear each other."""
    command = ["node", str(CLIENT), f"https://localhost:{port}", str(CLIENTS)]
    environment = os.environ | {"NODE_EXTRA_CA_CERTS": str(authority)}
    played = await trio.run_process(command, cwd=ROOT, env=environment, capture_stdout=True)
    report = json.loads(played.stdout)
    counts = Counter(report["workers"])
    assert set(counts) == {0, 1}
    assert max(counts.values()) <= min(counts.values()) + 4
    assert report["heard"] == [["to all", [1, 2]]] * CLIENTS


async def test_the_official_client_through_two_workers_and_a_new_certificate(tmp_path: Path) -> None:
    require_tool("node", "socket.io-client")
    authority = trustme.CA()
    write_certificate(authority, tmp_path)
    files = ("--certfile", str(tmp_path / "chain.pem"), "--keyfile", str(tmp_path / "key.pem"))
    async with open_command("tests.workers.app:secure", "--workers", "2", "--port", "0", *files) as command:
        port = int((await command.says(r"Serving https://127\.0\.0\.1:(\d+)/socket\.io/ over websocket in 2 workers"))[1])
        await play(port, tmp_path / "authority.pem")
        await ask_for_sessions(port, tmp_path / "authority.pem")
        before, shown = command.workers(), await certificate_of(port, tmp_path / "authority.pem")

        # A key that is not the certificate's replaces nobody.
        (tmp_path / "key.pem").write_bytes(authority.issue_cert("localhost").private_key_pem.bytes())
        command.process.send_signal(signal.SIGHUP)
        await command.says(r"does not belong to the certificate\. Nothing is replaced\.")
        assert command.workers() == before
        assert await certificate_of(port, tmp_path / "authority.pem") == shown

        write_certificate(authority, tmp_path)
        command.process.send_signal(signal.SIGHUP)
        await eventually(lambda: not any(map(is_alive, before)) and len(command.workers()) == 2)
        await command.says("has found server", 6)
        assert await certificate_of(port, tmp_path / "authority.pem") != shown
        await play(port, tmp_path / "authority.pem")
        command.process.terminate()
        assert await command.ends() == 0
        assert "Traceback" not in command.output


async def test_polling_is_refused_with_the_ways_out(tmp_path: Path) -> None:
    write_certificate(trustme.CA(), tmp_path)
    files = ("--certfile", str(tmp_path / "chain.pem"), "--keyfile", str(tmp_path / "key.pem"))
    async with open_command("tests.workers.app:routes", "--workers", "2", "--port", "0", *files) as command:
        said = (await command.says("A connection with TLS cannot go .*|Serving .*"))[0]
        assert re.search(r'write Config\(transports=\["websocket"\]\); or let a proxy .*; or serve with one process per port', said)
        assert await command.ends() == 2
        assert "Traceback" not in command.output


async def test_one_worker_has_all_there_is_to_have(tmp_path: Path) -> None:
    write_certificate(trustme.CA(), tmp_path)
    async with open_workers(app.quick, 1, certfile=tmp_path / "chain.pem", keyfile=tmp_path / "key.pem") as workers:
        sockname = workers.listeners[0].sockname
        assert not isinstance(sockname, str)
        assert await certificate_of(sockname[1], tmp_path / "authority.pem")
        stream = await trio.open_tcp_stream("127.0.0.1", sockname[1])
        context = ssl.create_default_context(cafile=tmp_path / "authority.pem")
        async with trio.SSLStream(stream, context, server_hostname="localhost", https_compatible=True) as encrypted:
            await encrypted.send_all(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert (await encrypted.receive_some()).startswith(b"HTTP/1.1 200 ")
