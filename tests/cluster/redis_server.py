"""A real Redis of the tests' own, that may be killed, paused and started again."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Final

from tests.ports import free_port

__all__ = ["RedisServer"]

_PATIENCE: Final = 20.0  # seconds for it to start, on a busy machine


class RedisServer:
    """One process, on a port that nobody else has.

    Args:
      directory: For its files; nothing is saved.
      options: For its command line, such as ``--requirepass``.

    Attributes:
      port: Where it listens, on 127.0.0.1; the same after a restart.
    """

    def __init__(self, directory: Path, *options: str) -> None:
        self._directory = directory
        self._options = options
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is, for clients."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and return once it answers."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._directory)]
        self._process = subprocess.Popen([*command, *self._options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                if self.command("PING"):
                    return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def kill(self) -> None:
        """End it at once, as ``kill -9`` does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Let it stand still, as if the network swallowed everything."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on after `stop`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def command(self, *words: str) -> bytes:
        """Send a command on a connection of its own, and return the beginning of what it answers."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=_PATIENCE) as wire:
            parts = [f"*{len(words)}\r\n", *(f"${len(word.encode())}\r\n{word}\r\n" for word in words)]
            wire.sendall("".join(parts).encode())
            return wire.recv(65536)
