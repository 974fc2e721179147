"""TLS 1.2 clients that want to negotiate again: section W of the catalogue.

Python's `ssl` cannot ask for it, so OpenSSL's own client does. What else there is about TLS is in tests/doors/test_tls.py.
"""

from __future__ import annotations

import ssl
import subprocess
from functools import partial

import pytest
import trio
import trustme

from tests.hostile.process import Record, failures
from trio_sio import Server
from trio_sio.testing import open_strict_client

HANDSHAKE = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.hostile("W28")
@pytest.mark.needs("openssl")
async def test_renegotiation_is_refused(server: Server, record: Record, caplog: pytest.LogCaptureFixture) -> None:
    authority = trustme.CA()
    ours, theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(ours)
    authority.configure_trust(theirs)
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(server.serve, "127.0.0.1", 0, ssl_context=ours))
        port = listener.sockname[1]
        stream = trio.SSLStream(await trio.open_tcp_stream("127.0.0.1", port), theirs, server_hostname="localhost")
        async with open_strict_client(stream) as bystander:
            command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_2"]
            process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            assert process.stdin is not None
            assert process.stdout is not None
            said = b""
            with trio.fail_after(10):
                await process.stdin.send_all(HANDSHAKE)
                while b'"sid"' not in said:
                    said += await process.stdout.receive_some()
                # Alone at the beginning of what the terminal sends, this is the client's command to do it.
                await process.stdin.send_all(b"R\n")
                while data := await process.stdout.receive_some():
                    said += data
                await process.wait()
            assert b"RENEGOTIATING" in said
            assert b"no renegotiation" in said
            assert process.returncode
            assert await bystander.emit_with_ack("echo", 1) == 1
        nursery.cancel_scope.cancel()
    assert not failures(caplog)
