"""`admin`: lets operators look at a server, and at all others of its cluster, with the page that they know from Node."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, get_args

import trio

from ..errors import BadMessage, ConfigurationError, EncodeError
from ..log import get_logger
from ..namespaces.adapter import InMemoryAdapter
from ..routing.table import Route, RoutingTable
from .access import access_for
from .basic_auth import BasicAuth
from .commands import Commands
from .controller import Page
from .counts import Counts
from .everybody import Everybody
from .figures import INTERVAL, Figures, Traffic
from .messages import NAMESPACE, Mode, features
from .watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..routing.middleware import Context, Next
    from .administered import Administered

__all__ = ["admin"]

logger = get_logger("trio_sio.admin")

_TAKEN: Final = f"The namespace {NAMESPACE!r} has both the admin page and handlers of yours; give these another name."


def admin(server: Administered, *, auth: BasicAuth | None, readonly: bool = False, mode: Mode = "development") -> Counts:
    """Serve ``@socket.io/admin-ui`` at the namespace ``/admin`` of ``server`` (Node: ``instrument(io, options)``).

    Call it once, before the server is entered. Middleware of its `RoutingTable` is not for this namespace, as in Node.

    Args:
      server: A `Server`.
      auth: Who may look; ``None``: whoever does so from this machine itself, and nobody else.
      readonly: Whether pages may only look, and neither let sockets join, leave or disconnect, nor emit.
      mode: ``"production"``: pages are shown figures only; ``"development"``: also every socket, room and event, arguments included.

    Returns:
      What is refused and left out from now on.

    Raises:
      ConfigurationError: if one of these is something else, or the namespace is taken.
      RuntimeError: if the server was entered already.
    """
    if auth is not None and not isinstance(auth, BasicAuth):
        raise ConfigurationError("auth= is no BasicAuth; write auth=BasicAuth(username, bcrypt_hash), or auth=None for this machine only.")
    if not isinstance(readonly, bool):
        raise ConfigurationError(f"readonly={readonly!r:.80} is neither True nor False.")
    if mode not in get_args(Mode):
        raise ConfigurationError(f'mode={mode!r:.80} is neither "development" nor "production".')
    return _Desk(server, auth, mode, readonly=readonly).counts


class _Desk:
    """What all pages of one server share; see `Desk`."""

    def __init__(self, server: Administered, auth: BasicAuth | None, mode: Mode, *, readonly: bool) -> None:
        self.counts = Counts()
        self.features: Sequence[str] = features(mode, readonly=readonly)
        self._namespace = server.of(NAMESPACE)
        if self._namespace.handler is not None:
            raise ConfigurationError(f"The namespace {NAMESPACE!r} is the admin page's already; call admin() once.")
        if any(where == NAMESPACE for where, _ in server.routes.entries):
            raise ConfigurationError(_TAKEN)
        # There is nobody else where the namespace has no adapter that reaches further.
        self._is_alone = type(self._namespace.adapter) is InMemoryAdapter
        self.commands = Commands(server, self.counts, readonly=readonly, is_alone=self._is_alone)
        self._access = access_for(auth, self._namespace, server.config.cors, self.counts)
        traffic = Traffic()
        self._figures = Figures(server, traffic)
        server.add_instrument(traffic)
        self._everybody: Everybody | None = None
        if mode == "development":
            watch = Watch(server, self._namespace, self.counts, self._is_watched)
            server.add_instrument(watch)
            self._everybody = Everybody(server, self._namespace, watch)
        route = Route(
            NAMESPACE, partial(Page, self), connection_middleware=[self._let_in], exception_handlers={BadMessage: self._command_refused}
        )
        ((name, self._handler),) = RoutingTable(route).entries
        # Not among the application's routes: their middleware asks for what pages do not have, and their contract is not about this.
        server.namespaces.add(name, self._handler)
        server.start_soon(self._tell_figures, failure="raise")

    async def sockets(self, is_wanted: Callable[[], bool]) -> list[Any] | None:
        """See `Desk.sockets`."""
        return None if self._everybody is None else await self._everybody.find(is_wanted)

    def _is_watched(self) -> bool:
        return bool(self._namespace.connected) or not self._is_alone

    async def _let_in(self, ctx: Context, call_next: Next) -> object:
        await self._access.admit(ctx.socket)
        return await call_next()

    def _command_refused(self, ctx: Context, error: BadMessage) -> None:
        self.commands.refused()
        logger.info("Admin page %s asked for what it cannot have, %.80r: %.200s", ctx.socket.id, ctx.event, error.message)

    async def _tell_figures(self) -> None:
        if self._namespace.handler is not self._handler:
            raise ConfigurationError(_TAKEN)  # by functions, which may be registered until now
        is_told = True
        while True:
            if self._is_watched():
                try:
                    self._namespace.volatile().emit_nowait("server_stats", self._figures.take())
                    is_told = True
                except EncodeError:  # larger than `Limits.outbox_bytes`: that is no reason for the end of the server
                    self.counts.left_out += 1
                except Exception:  # nor is an adapter that fails, which may be the application's
                    self.counts.left_out += 1
                    if is_told:
                        logger.exception("Admin pages cannot be told how the server is; this is not said again until they can.")
                    is_told = False
            else:
                self._figures.skip()
            await trio.sleep(INTERVAL)
