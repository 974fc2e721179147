"""The real command line, for a browser."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from tests.ports import free_port

__all__ = ["BUNDLE", "ROOT", "ServerProcess"]

ROOT: Final = Path(__file__).parents[2]
BUNDLE: Final = ROOT / "node_modules/socket.io-client/dist"


class ServerProcess:
    """`trio-sio run` on one port, to be stopped and started again.

    Args:
      log: Where its log is.
      arguments: What is run, with options besides the port and the client's bundle.
    """

    def __init__(self, log: Path, *arguments: str) -> None:
        self.port = free_port()
        self.log = log
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        command = "import sys; from trio_sio.cli import main; sys.exit(main())"
        options = ["--client-bundle", str(BUNDLE), "--port", str(self.port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", command, "run", *self._arguments, *options], cwd=ROOT, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except ConnectionRefusedError:
                time.sleep(0.02)
            else:
                return
        pytest.fail(f"The server did not start:\n{self.log.read_text()}")

    def stop(self) -> int:
        """Stop it as an operator would; return its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(30)
        finally:
            self._process.kill()
