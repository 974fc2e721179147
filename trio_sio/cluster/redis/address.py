"""Where a Redis is, and as whom one comes there: what a URL says."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import trio

from ...errors import ConfigurationError

__all__ = ["RedisAddress"]

_PORT = 6379


@dataclass(frozen=True, kw_only=True)
class RedisAddress:
    """Where a Redis is.

    Attributes:
      host: Its name or address; empty with ``path``.
      port: Its port.
      path: Of a Unix socket; empty without.
      username: Who comes; ``None``: as Redis calls whoever says nothing else.
      password: The password; ``None``: there is none.
      tls: How to speak TLS; ``None``: not at all.
    """

    host: str = ""
    port: int = _PORT
    path: str = ""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, url: str, tls: ssl.SSLContext | None = None) -> RedisAddress:
        """Return what ``url`` says.

        Args:
          url: ``redis://[[username]:password@]host[:port]``, the same with ``rediss`` for TLS, or ``unix:///path``. A number of a
            database may follow; for what is published it makes no difference.
          tls: For ``rediss``; ``None``: what Python does by default.

        Raises:
          ConfigurationError: if it is none of these.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as exc:
            raise ConfigurationError(f"The URL of Redis cannot be read: {exc}. Write it as redis://host:6379.") from None
        username = unquote(parts.username) if parts.username else None
        password = unquote(parts.password) if parts.password else None
        if parts.scheme in {"redis", "rediss"}:
            secure = (tls or ssl.create_default_context()) if parts.scheme == "rediss" else None
            return cls(host=parts.hostname or "localhost", port=port or _PORT, username=username, password=password, tls=secure)
        if parts.scheme == "unix" and parts.path:
            return cls(path=unquote(parts.path), username=username, password=password)
        raise ConfigurationError(
            f"The URL of Redis begins with {parts.scheme + ':'!r:.20}; write redis://host:6379, rediss://host:6379 for TLS, or unix:///path."
        )

    async def open(self) -> trio.abc.Stream:
        """Connect.

        Raises:
          OSError: if nobody is there.
        """
        if self.path:
            return await trio.open_unix_socket(self.path)
        stream = await trio.open_tcp_stream(self.host, self.port)
        if self.tls is None:
            return stream
        return trio.SSLStream(stream, self.tls, server_hostname=self.host, https_compatible=True)
