"""Where a client connects to, and how: address, path, query, header fields, cookies, TLS."""

from __future__ import annotations

import http.cookies
import re
import ssl
from collections.abc import Iterable, Mapping
from typing import Final, Protocol, runtime_checkable
from urllib.parse import parse_qsl, urlencode, urlsplit

import h11
import trio

from ..errors import ConfigurationError, ConnectFailed

__all__ = ["HasConnectStream", "Target"]

_PORTS: Final = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_HOST: Final = re.compile(r"[A-Za-z0-9._~%:-]+")
_PATH: Final = re.compile(r'/[!"$->@-~]*')  # printable ASCII but blank, # and ?
_SECURE: Final = ("https", "wss")

# What the transports set themselves.
_OUR_PARAMETERS: Final = frozenset({"EIO", "transport", "sid", "t", "j", "b64"})
_OUR_HEADERS: Final = frozenset({"connection", "upgrade", "content-length", "transfer-encoding", "host", "te"})

# What is kept for a server; one that sets more loses its oldest.
_COOKIES: Final = 50
_COOKIE_LENGTH: Final = 4_096


@runtime_checkable
class HasConnectStream(Protocol):
    """A server that is reached without a network: `trio_sio.testing.InMemoryServer`, or anything with the same method."""

    async def connect_stream(self) -> trio.abc.Stream:
        """Open a connection and return the client's end of it."""


class Target:
    """One server, as one client sees it. Cookies that it sets are sent back from then on, as sticky load balancers need.

    Args:
      server: ``http://``, ``https://``, ``ws://`` or ``wss://`` and a host, or an object with `HasConnectStream.connect_stream`.
      path, query, headers, cookies, ssl_context: See `trio_sio.open_client`.

    Attributes:
      cookies: The cookies as they are now, by name.
      host: The ``Host`` header.
      secure: Whether the connection is encrypted.
      description: What messages call the server.

    Raises:
      ConfigurationError: if one of them cannot be right.
    """

    def __init__(
        self,
        server: str | HasConnectStream,
        *,
        path: str = "/socket.io",
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._server: HasConnectStream | None = None
        self._host, self._port, self.secure = "localhost", 80, False
        self._query = dict(query or {})
        if isinstance(server, str):
            self._parse(server)
        elif isinstance(server, HasConnectStream):
            self._server = server
        else:
            raise ConfigurationError(
                f"{server!r} is neither a URL nor a server in memory; to make one use trio_sio.testing.open_test_server()."
            )
        if ssl_context is not None and not self.secure:
            raise ConfigurationError("An ssl_context is given, but the connection is not encrypted; write https:// or wss:// in the URL.")
        if not _PATH.fullmatch(path):
            raise ConfigurationError(f'path is {path!r}; write an absolute path without a query, such as "/socket.io".')
        self._ssl_context = ssl_context or (ssl.create_default_context() if self.secure else None)
        self._path = path.rstrip("/") + "/"
        self._headers = dict(headers or {})
        self.cookies = dict(cookies or {})
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.host = host if self._port == (443 if self.secure else 80) else f"{host}:{self._port}"
        self.description = f"http{'s' if self.secure else ''}://{self.host}{self._path}" if self._server is None else type(server).__name__
        self._check()

    def _parse(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ConfigurationError(f"The URL {url!r} is not valid: {error}.") from error
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ConfigurationError(f'The URL {url!r} is not complete; write it as in "https://chat.example" or "http://localhost:3000".')
        if not _HOST.fullmatch(parts.hostname):
            raise ConfigurationError(
                f"{parts.hostname!r} is no host name; write an international one in its ASCII form, which begins with xn--."
            )
        try:
            parts.hostname.encode("idna")  # as name resolution does
        except UnicodeError as error:
            raise ConfigurationError(f"{parts.hostname!r} is no host name; write 1 to 63 characters between two dots.") from error
        if parts.username is not None:
            raise ConfigurationError("A URL must not contain a name and a password, which end up in logs; use headers= or auth=.")
        if parts.path not in ("", "/"):
            raise ConfigurationError(
                f"The URL {url!r} has the path {parts.path!r}; "
                "say with namespace= which namespace to join, or with path= where the server is mounted."
            )
        self._host = parts.hostname
        self.secure = parts.scheme in _SECURE
        self._port = port if port is not None else _PORTS[parts.scheme]
        self._query = dict(parse_qsl(parts.query, keep_blank_values=True)) | self._query

    def _check(self) -> None:
        if taken := _OUR_PARAMETERS.intersection(self._query):
            raise ConfigurationError(f"The query parameter {min(taken)!r} belongs to Engine.IO; choose another name.")
        for name in self._headers:
            if name.lower() in _OUR_HEADERS or name.lower().startswith("sec-websocket-"):
                raise ConfigurationError(f"The header field {name!r} is set by the transports; leave it out.")
            if name.lower() == "cookie":
                raise ConfigurationError("Give cookies with cookies=, so that those which the server sets can be added.")
        try:
            h11.Request(method="GET", target=self.resource("polling"), headers=self.headers())
        except (h11.LocalProtocolError, UnicodeEncodeError) as error:
            raise ConfigurationError(f"No valid request can be made of path, headers and cookies: {error}.") from error

    async def connect_stream(self) -> trio.abc.Stream:
        """Open a connection, encrypted if the URL says so.

        Raises:
          ConnectFailed: if nobody answers, or the certificate is not trusted. How long that may take is up to the caller.
        """
        try:
            if self._server is not None:
                return await self._server.connect_stream()
            stream = await trio.open_tcp_stream(self._host, self._port)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectFailed(f"No connection to {self.description}: {error}.") from error
        if self._ssl_context is None:
            return stream
        encrypted = trio.SSLStream(stream, self._ssl_context, server_hostname=self._host, https_compatible=True)
        try:
            await encrypted.do_handshake()
        except trio.BrokenResourceError as error:
            await trio.aclose_forcefully(stream)
            raise self._untrusted(error) from error
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return encrypted

    def _untrusted(self, error: trio.BrokenResourceError) -> ConnectFailed:
        cause = error.__cause__
        if not isinstance(cause, ssl.SSLCertVerificationError):
            return ConnectFailed(f"No encrypted connection to {self.description}: {cause or error}.")
        return ConnectFailed(
            f"The certificate of {self.description} is not trusted: {cause.verify_message}. "
            "Give an ssl_context that trusts its authority, and connect by a name that is in it.",
            retryable=False,
        )

    def resource(self, transport: str, **parameters: str) -> str:
        """Return path and query of a request.

        Args:
          transport: The transport that asks.
          parameters: What it adds: ``sid``, ``t``.
        """
        return f"{self._path}?{urlencode({**self._query, 'EIO': '4', 'transport': transport, **parameters})}"

    def headers(self) -> list[tuple[str, str]]:
        """Return the header fields of a request: ``Host``, the caller's, and the cookies as they are now."""
        fields = [("Host", self.host), *self._headers.items()]
        if self.cookies:
            fields.append(("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items())))
        return fields

    def keep_cookies(self, set_cookie: Iterable[str]) -> None:
        """Remember cookies for the requests to come. There is no expiry: a session is shorter than what sticky cookies last.

        One that cannot be sent back, such as one that is not ASCII, is left out.

        Args:
          set_cookie: The values of a response's ``Set-Cookie`` fields.
        """
        for field in set_cookie:
            # Without its attributes, because this parser refuses a cookie for one that it does not know.
            pair = field.partition(";")[0]
            if len(pair) > _COOKIE_LENGTH or not (pair.isascii() and pair.isprintable()):
                continue
            try:
                parsed = http.cookies.SimpleCookie(pair)
            except http.cookies.CookieError:
                continue
            for morsel in parsed.values():
                self.cookies.pop(morsel.key, None)
                self.cookies[morsel.key] = morsel.coded_value
        while len(self.cookies) > _COOKIES:
            del self.cookies[next(iter(self.cookies))]
