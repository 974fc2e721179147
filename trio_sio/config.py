"""What can be set: `Config`, with `CORS` and its like. Frozen, in seconds and bytes, validated on construction."""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from http.cookies import Morsel
from types import NoneType
from typing import TYPE_CHECKING, Final, Literal, get_args

from .concurrency.functions import fault_of_sync, is_yes
from .errors import ConfigurationError
from .fields import explains_unknown_names, require_number, require_type
from .limits import Limits
from .origin import fault_of_host, fault_of_origin
from .protocol.http import TOKEN

if TYPE_CHECKING:
    from .protocol.http import Request

__all__ = ["CORS", "Compression", "Config", "Cookie", "Origins", "PerMessageDeflate", "Recovery"]

Origins = str | Iterable[str] | re.Pattern[str] | Callable[[str], bool]
"""``"*"``, one origin, several, a pattern (``fullmatch``), or a function of the origin, which is not async."""

TransportName = Literal["polling", "websocket"]

TRANSPORTS: Final[tuple[TransportName, ...]] = get_args(TransportName)


def generate_id() -> str:
    """Return a new session or socket id: 20 characters of ``A-Za-z0-9_-``, 120 bits from `secrets`."""
    return secrets.token_urlsafe(15)


@explains_unknown_names
@dataclass(frozen=True, kw_only=True, slots=True)
class CORS:
    """Which foreign pages may talk to the server, and with which response headers.

    Unlike Node's option of the same name this is also enforced: a request or WebSocket handshake whose ``Origin`` is
    neither the server's own nor listed here is refused with 403.

    An origin is listed exactly as browsers send it: scheme and host in small letters, the port only where it is not the
    scheme's own, and nothing behind it. One that no browser can send is refused here. ``"null"`` and ``"file://"``, which
    devices and the shells of apps send, may be listed; but ``"null"`` is also what any page can send, from a sandboxed frame.

    Attributes:
      origins: ``"*"``, one origin such as ``"https://app.example"``, several, a compiled pattern, which must match the whole
        origin, or a function of the origin. That is not async; only ``True`` lets a page in, and if it raises the page is refused.
      methods: What a pre-flight answer allows.
      headers: Request headers that a pre-flight answer allows; ``None`` allows those that were asked for.
      credentials: Whether cookies may be sent; needs explicit ``origins``: neither ``"*"`` nor ``"null"``, in any spelling.
      max_age: Seconds for which browsers may keep a pre-flight answer.
    """

    origins: Origins
    methods: Sequence[str] = ("GET", "POST")
    headers: Sequence[str] | None = None
    credentials: bool = False
    max_age: float | None = None

    def __post_init__(self) -> None:
        require_type("CORS", "credentials", self.credentials, (bool,), "True or False")
        if self.max_age is not None:
            require_number("CORS", "max_age", self.max_age, minimum=0, integer=False)
            if self.max_age == math.inf:
                raise ConfigurationError("CORS.max_age is inf; browsers want a number, and keep an answer for some hours at most.")
        for name in ("methods", "headers"):
            _require_tokens(name, getattr(self, name))
        origins = _checked_origins(self.origins)
        # A copy, as a generator is used up, and as a list may change after it was looked at.
        object.__setattr__(self, "origins", origins)
        if self.credentials and (everybody := _lets_everybody_in(origins)) is not None:
            raise ConfigurationError(
                f"CORS(origins={everybody}, credentials=True) would let every page on the web act as the logged-in user; "
                "list the origins that may send cookies."
            )

    def allows(self, origin: str) -> bool:
        """Tell whether a page of ``origin`` (as in the ``Origin`` header) may talk to the server.

        Raises:
          Exception: what a function that was given raises.
        """
        if isinstance(self.origins, str):
            return self.origins in ("*", origin)
        if isinstance(self.origins, re.Pattern):
            return self.origins.fullmatch(origin) is not None
        if callable(self.origins):
            return is_yes(self.origins(origin), "The function of CORS.origins")
        return origin in self.origins


def _checked_origins(origins: object) -> Origins:
    """Return ``origins`` in a form that cannot change.

    Raises:
      ConfigurationError: if one of them can never be that of a page, or if they are something else.
    """
    if isinstance(origins, re.Pattern):
        if not isinstance(origins.pattern, str):
            raise ConfigurationError(f"CORS.origins is {origins!r}, a pattern of bytes; compile one of text.")
        return origins
    if callable(origins):
        if (fault := fault_of_sync(origins)) is not None:
            raise ConfigurationError(
                f"CORS.origins takes a function that answers at once, but {fault}. Decide by what is in memory already, "
                "or let every page in that may be one of yours, and decide in Config.allow_request, which may be async."
            )
        return origins
    if isinstance(origins, bytes | bytearray) or not isinstance(origins, Iterable):
        raise ConfigurationError(
            f'CORS.origins is {origins!r:.80}; write "*", an origin such as "https://app.example", a list of origins, a compiled pattern, '
            "or a function."
        )
    listed = (origins,) if isinstance(origins, str) else tuple(origins)
    for origin in listed:
        if origin != "*" and (fault := fault_of_origin(origin)) is not None:
            raise ConfigurationError(f"CORS origin {origin!r:.200} {fault}")
    return "*" if "*" in listed else origins if isinstance(origins, str) else frozenset(listed)


# Nobody can have a host of this top level (RFC 6761, section 6.4), so who lets these in lets in what it does not know.
_STRANGERS: Final = ("https://stranger.invalid", "http://stranger.invalid", "https://www.stranger.invalid:8443")


def _lets_everybody_in(origins: Origins) -> str | None:
    """Return what it is in ``origins`` by which any page gets in; ``None`` if there is no such thing to be seen."""
    if isinstance(origins, re.Pattern):
        return f"{origins!r:.200}" if any(origins.fullmatch(one) for one in (*_STRANGERS, "null")) else None
    if isinstance(origins, str):
        return f'"{origins}"' if origins in ("*", "null") else None
    return '[..., "null"]' if not callable(origins) and "null" in origins else None


def _require_tokens(name: str, value: object) -> None:
    if value is None and name == "headers":
        return
    # A string is a sequence of strings, too, and would be told to browsers letter by letter.
    if isinstance(value, list | tuple) and all(isinstance(one, str) and re.fullmatch(TOKEN, one) for one in value):
        return
    raise ConfigurationError(
        f'CORS.{name} is {value!r:.200}; write a list of names, such as ["{"GET" if name == "methods" else "X-Token"}"].'
    )


@explains_unknown_names
@dataclass(frozen=True, kw_only=True, slots=True)
class Cookie:
    """A cookie with the session's id, which the first response of every session sets (Node: the option ``cookie``).

    It lets a load balancer send all requests of a session to the same server; the server itself does not read it.
    Unlike Node's it is also set on sessions that begin with a WebSocket.

    Attributes:
      name: Its name.
      path: Below which path browsers send it back.
      http_only: Whether scripts of the page are kept from reading it.
      same_site: Whether pages of other sites send it: ``"strict"``, ``"lax"`` or ``"none"``; the last needs ``secure``,
        and pages of other origins need ``CORS(credentials=True)`` as well.
      secure: Whether browsers send it over TLS only.
      domain: To which domain, subdomains included, browsers send it back; ``None``: to the host that set it.
      max_age: Seconds for which browsers keep it; ``None``: until they are closed.
    """

    name: str = "io"
    path: str = "/"
    http_only: bool = True
    same_site: Literal["strict", "lax", "none"] = "lax"
    secure: bool = False
    domain: str | None = None
    max_age: int | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(TOKEN, self.name) or Morsel[str]().isReservedKey(self.name):
            raise ConfigurationError(
                f'Cookie.name is {self.name!r}; write letters, digits and hyphens, such as "io", but no name of an attribute.'
            )
        if not re.fullmatch(r"/[ -:<-~]*", self.path):
            raise ConfigurationError(f'Cookie.path is {self.path!r}; write an absolute path in ASCII without a semicolon, such as "/".')
        if self.domain is not None and not re.fullmatch(r"\.?[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*", self.domain):
            raise ConfigurationError(f'Cookie.domain is {self.domain!r}; write a host name without scheme and port, such as "app.example".')
        if self.same_site not in ("strict", "lax", "none"):
            raise ConfigurationError(f'Cookie.same_site is {self.same_site!r}; choose "strict", "lax" or "none".')
        if self.same_site == "none" and not self.secure:
            raise ConfigurationError('Cookie(same_site="none") is dropped by browsers unless it is secure as well; add secure=True.')
        if self.max_age is not None:
            require_number("Cookie", "max_age", self.max_age, minimum=1, integer=True)


@explains_unknown_names
@dataclass(frozen=True, kw_only=True, slots=True)
class Compression:
    """How the responses to polls are compressed, with gzip or deflate, for clients that accept it (Node: ``httpCompression``).

    Attributes:
      threshold: Bytes of a response below which it is sent as it is.
    """

    threshold: int = 1_024

    def __post_init__(self) -> None:
        require_number("Compression", "threshold", self.threshold, minimum=0, integer=True)


@explains_unknown_names
@dataclass(frozen=True, kw_only=True, slots=True)
class PerMessageDeflate:
    """How messages on a WebSocket are compressed (Node: ``perMessageDeflate``).

    What is sent to many is framed once for all of them and goes out as it is, unless ``compress(True)`` asks for more.

    By default each message is compressed for itself, and a connection keeps nothing between two of them. Keeping the context
    makes short messages that resemble earlier ones a third as long, and those of 1 KB a fifth shorter than they are anyway;
    it takes 40 KB for what a connection sends and 12 KB for what it receives, which is twice what it takes otherwise.

    Attributes:
      threshold: Bytes of a message below which it is sent as it is.
      server_no_context_takeover: Whether each message is compressed for itself; a client may ask for that, too.
      client_no_context_takeover: Whether clients have to do so.
    """

    threshold: int = 1_024
    server_no_context_takeover: bool = True
    client_no_context_takeover: bool = True

    def __post_init__(self) -> None:
        require_number("PerMessageDeflate", "threshold", self.threshold, minimum=0, integer=True)


@explains_unknown_names
@dataclass(frozen=True, kw_only=True, slots=True)
class Recovery:
    """Clients that lose their connection may come back as the same socket (Node: ``connectionStateRecovery``).

    They keep id, rooms and ``socket.data``, get what was emitted to them meanwhile, and see ``socket.recovered``; so does the
    connection hook. Only what the server emits without an acknowledgement is recovered; a client that misses something else
    has to ask for it. What is kept is kept in the memory of this process, for each namespace by itself; workers let each other have it.

    Each such event carries a string as its last argument, which handlers of clients see. A handler that takes exactly so many
    arguments must allow for one more.

    Attributes:
      max_disconnection: For how long a client may be away.
      packets: The newest events that are kept; a client that misses an older one is not recovered. Of as many rooms it is known
        when they were last emitted to, so that what was for others does not count.
      bytes: How many bytes these may have in all; their frames take as much again.
      sessions: Clients that may be away at once; more, and those that left first are given up.
      skip_middlewares: Whether connection middleware is left out for clients that come back. They may have logged out since:
        Node's default is to leave it out, ours is not.
      keep_controllers: Whether such a client finds its controllers as it left them, like ``socket.data``, where they are plain
        objects: made for one socket, and neither async context managers nor tuples. Their attributes that are the earlier socket
        become the new one; what else was made of it, such as a bound method or a closure, does not, and the first event that it
        emits into the void is a WARNING. Otherwise they are made anew, and what they remembered is lost while the rooms are back.
    """

    max_disconnection: float = 120
    packets: int = 10_000
    bytes: int = 16 * 1024 * 1024
    sessions: int = 10_000
    skip_middlewares: bool = False
    keep_controllers: bool = False

    def __post_init__(self) -> None:
        require_number("Recovery", "max_disconnection", self.max_disconnection, minimum=0, integer=False)
        for name in ("packets", "bytes", "sessions"):
            require_number("Recovery", name, getattr(self, name), minimum=1, integer=True)


@explains_unknown_names
@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """How a server behaves. All times are seconds, all sizes bytes; ``math.inf`` switches a time-out off.

    Attributes:
      path: The URL path of the engine, without the trailing slash; ``"/"`` for a server with nothing beside it, as when it
        is mounted below a path of another application.
      transports: Which transports clients may open, in no particular order.
      allow_upgrades: Whether a polling session may move to a WebSocket.
      upgrade_timeout: For how long a WebSocket may probe before it is closed (the session goes on with polling).
      ping_interval: Seconds from a pong to the next ping.
      ping_timeout: For how long a pong may be missing before the connection is given up. A ping and its pong have to wait for
        messages that are on their way: while one of those comes on, by at least 1,024 bytes, there is as much time again.
      connect_timeout: For how long a connection may stay without having joined a namespace.
      max_http_buffer_size: The largest message and the largest POST body, inclusive.
      cors: Which foreign pages may talk to the server; ``None``: only pages of the same host and port.
      allowed_hosts: By which names, in ``Host``, the server may be asked, such as ``["app.example", "localhost:3000"]``; a name
        without a port stands for any port, and an IPv6 address is written in brackets. Others get 403, before anything is
        made for them; what is not the engine's path is not concerned. ``None``: by any, as proxies may ask in the name of
        whatever they like. Set it where browsers reach the server directly, on a developer's machine or in a local network:
        else a page of a stranger, whose name he points at your address, is taken for your own (DNS rebinding).
      allow_loopback_origins: Whether a page on one loopback port may talk to a server on another (a front-end's development server).
      cookie: The name of a cookie with the session's id, or a `Cookie`, by which a load balancer can tell the requests of one
        session from those of another; ``None``: no cookie.
      compression: Whether, or how, the responses to polls are compressed. Node's default is on; ours is off, because it costs
        time, and because over TLS the size of what was compressed tells about secrets that it contains next to text of an
        attacker's choosing. A packet that is sent with ``compress(False)`` keeps the response that it is in as it is.
      per_message_deflate: Whether, or how, messages on a WebSocket are compressed if the client can do it, as browsers can
        (RFC 7692). Off for the same reasons. At the ASGI door the host negotiates, and this has no effect.
      connection_state_recovery: Whether clients that lose their connection may come back as the same socket, and how much is
        kept for them; ``None``: they get a new one.
      parser: How packets are written: ``"json"``, or ``"msgpack"`` for clients with ``parser: require("socket.io-msgpack-parser")``.
        Clients must use the same; the others are disconnected with their first packet. With MessagePack a ``Date`` is a
        ``datetime`` with a time zone in both directions, and NaN and the infinities are sent as they are.
      slow_consumer: What a broadcast does to a client whose outbox is full: ``"disconnect"`` or ``"drop"``.
      error_acks: Whether a failing handler, and an event that has no handler, answer the ack with an error object; otherwise it is
        not answered. For Node's ``timeout().emit`` and ``emitWithAck`` such an answer is one like any other; raise `NoAck` in a
        handler to give none.
      check_events: Whether the arguments of events that are declared with `server_event` are checked against the annotations
        wherever they are emitted, which takes as long as making them anew. It is for development: the test kit's own
        configuration has it on.
      ack_timeout: How long `emit_with_ack` waits unless told otherwise.
      cleanup_timeout: How long earlier events and the disconnection hook may take once the client is gone.
      drain_timeout: How long stopping may take in all; a polling client gets a quarter of it to fetch its last packets.
      http_stall_timeout: For how long an HTTP body may make no progress.
      write_stall_timeout: For how long a write may make no progress.
      inbox_stall_timeout: For how long a POST may wait until its events found room in the inbox; then it is answered, and the
        next one is not read before the rest of them did.
      attachment_stall_timeout: For how long an announced attachment may be missing.
      keep_alive_timeout: How long an idle HTTP connection is kept.
      header_timeout: How long an HTTP request's head may take.
      close_timeout: How long a WebSocket's closing handshake may take.
      generate_id: Makes the id of a session; sync or async; at least 120 random bits.
      allow_request: Decides about each handshake; sync or async. Only ``True`` lets it go on; if it raises, that is logged, and
        the handshake is refused. A handshake that waits for it counts as an unconnected session.
      serve_client: Where the official browser bundle lies (a directory); it is then served below ``path``.
      trusted_proxies: How many proxies of yours each request comes through, all of which append to ``X-Forwarded-For``.
        The entry of the outermost, counted from the right, is then the client's address, for limits and handshakes; and
        ``X-Forwarded-Host`` stands in for ``Host`` when origins and `allowed_hosts` are checked. With 0 neither is believed.
      limits: See `Limits`.
    """

    path: str = "/socket.io"
    transports: Sequence[TransportName] = TRANSPORTS
    allow_upgrades: bool = True
    upgrade_timeout: float = 10
    ping_interval: float = 25
    ping_timeout: float = 20
    connect_timeout: float = 45
    max_http_buffer_size: int = 1_000_000
    cors: CORS | None = None
    allowed_hosts: Sequence[str] | None = None
    allow_loopback_origins: bool = True
    cookie: str | Cookie | None = None
    compression: bool | Compression = False
    per_message_deflate: bool | PerMessageDeflate = False
    connection_state_recovery: Recovery | None = None
    parser: Literal["json", "msgpack"] = "json"
    slow_consumer: Literal["disconnect", "drop"] = "disconnect"
    error_acks: bool = True
    check_events: bool = False
    ack_timeout: float = 60
    cleanup_timeout: float = 10
    drain_timeout: float = 20
    http_stall_timeout: float = 20
    write_stall_timeout: float = 30
    inbox_stall_timeout: float = 10
    attachment_stall_timeout: float = 30
    keep_alive_timeout: float = 75
    header_timeout: float = 10
    close_timeout: float = 10
    generate_id: Callable[[], str | Awaitable[str]] = generate_id
    allow_request: Callable[[Request], bool | Awaitable[bool]] | None = None
    serve_client: str | None = None
    trusted_proxies: int = 0
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"/|(/[A-Za-z0-9._~-]+)+", self.path):
            raise ConfigurationError(
                f'Config.path is {self.path!r}; write an absolute path without a trailing slash, such as "/socket.io".'
            )
        if not self.transports or set(self.transports) - set(TRANSPORTS):
            raise ConfigurationError(f'Config.transports is {self.transports!r}; choose from ("polling", "websocket").')
        if self.parser not in ("json", "msgpack"):
            raise ConfigurationError(f'Config.parser is {self.parser!r}; choose "json" or "msgpack".')
        for name in ("generate_id", "allow_request"):
            _check_function(name, getattr(self, name))
        for name in ("allow_upgrades", "allow_loopback_origins", "check_events", "error_acks"):
            require_type("Config", name, getattr(self, name), (bool,), "True or False")
        require_type("Config", "cors", self.cors, (CORS, NoneType), 'a CORS, such as CORS(origins=["https://app.example"]), or None')
        object.__setattr__(self, "allowed_hosts", _checked_hosts(self.allowed_hosts))
        if self.slow_consumer not in ("disconnect", "drop"):
            raise ConfigurationError(f'Config.slow_consumer is {self.slow_consumer!r}; choose "disconnect" or "drop".')
        require_type("Config", "cookie", self.cookie, (str, Cookie, NoneType), 'a name, such as "io", a Cookie, or None')
        if isinstance(self.cookie, str):
            Cookie(name=self.cookie)
        require_type("Config", "compression", self.compression, (bool, Compression), "True, False or a Compression")
        require_type(
            "Config", "per_message_deflate", self.per_message_deflate, (bool, PerMessageDeflate), "True, False or a PerMessageDeflate"
        )
        require_type("Config", "connection_state_recovery", self.connection_state_recovery, (Recovery, NoneType), "a Recovery or None")
        require_number("Config", "max_http_buffer_size", self.max_http_buffer_size, minimum=1, integer=True)
        require_number("Config", "trusted_proxies", self.trusted_proxies, minimum=0, integer=True)
        for name in self.__slots__:
            if name.endswith(("_timeout", "_interval")):
                require_number("Config", name, getattr(self, name), minimum=0, integer=False)

    @property
    def upgrades(self) -> tuple[str, ...]:
        """The transports that a polling session may move to, as its open packet lists them."""
        return ("websocket",) if self.allow_upgrades and "websocket" in self.transports else ()


def _check_function(name: str, function: object) -> None:
    if function is None and name != "generate_id":
        return
    if not callable(function):
        raise ConfigurationError(f"Config.{name} is {function!r:.80}; it must be a function{'' if name == 'generate_id' else ' or None'}.")


def _checked_hosts(hosts: object) -> tuple[str, ...] | None:
    if hosts is None:
        return None
    if not isinstance(hosts, list | tuple | set | frozenset) or not hosts:
        raise ConfigurationError(f'Config.allowed_hosts is {hosts!r:.80}; write a list of host names, such as ["app.example"], or None.')
    for host in hosts:
        if (fault := fault_of_host(host)) is not None:
            raise ConfigurationError(f"Config.allowed_hosts has {host!r:.200}, which {fault}")
    return tuple(hosts)
