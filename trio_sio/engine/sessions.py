"""The sessions of one server: which ids are known, for which something runs, and what they take.

Theory of operation
===================

A session is in two collections, which it enters together (`begin`) and leaves on its own:

* `by_id` until nobody can ask for it any more: when it ends, or, where a client still has to fetch its last packets, when
  it has them (`forget`);
* `running` until everything that runs for it is done.

Besides it counts among the newcomers until it has joined a namespace (`established`), and takes a place of its address as
long as it runs. What is not a session yet, a handshake, is in none of them: see `Admission`.

All of them together are *open* while there is a nursery for them, *draining* once no new one is taken, and *drained* when
the last is over or what is left has been given up. These never go back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from ..errors import outcome_of
from .addresses import AddressLimits
from .newcomers import Newcomers

if TYPE_CHECKING:
    from .connection import Connection
    from .roles import Receiver, Transport
    from .services import Services

__all__ = ["Sessions"]


class Sessions:
    """Every Engine.IO session of one server.

    Args:
      services: What they share.
      open_session: Makes the `Receiver` of a new one; synchronous; must not send yet.

    Attributes:
      open_session: As given.
      by_id: Those whose id is known.
      running: Those for which something runs now, those that say goodbye included.
      newcomers: Handshakes under way, and those that have joined no namespace yet.
      addresses: What each address takes.
      draining: Set when no new one is taken any more.
      drained: Set when all of them are over, or given up.
      is_mine: Tells which ids a new one may have, where other processes find it by its id; ``None``: any.
    """

    is_mine: Callable[[str], bool] | None = None

    def __init__(self, services: Services, open_session: Callable[[Connection], Receiver]) -> None:
        limits = services.config.limits
        self.open_session = open_session
        self.by_id: dict[str, Connection] = {}
        self.running: set[Connection] = set()
        self.newcomers = Newcomers(limits.unconnected_sessions)
        self.addresses = AddressLimits(limits)
        self.draining = trio.Event()
        self.drained = trio.Event()
        self._services = services
        self._all_done: trio.Event | None = None
        self._nursery: trio.Nursery | None = None

    @property
    def is_open(self) -> bool:
        """Whether a session can begin."""
        return self._nursery is not None

    # The scope of the server.

    def open(self, nursery: trio.Nursery) -> None:
        """Run them in ``nursery`` from now on."""
        self._nursery = nursery

    def cancel(self) -> None:
        """Stop all that runs for them, at once, and begin none any more."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
            self._nursery = None

    async def wait_over(self) -> None:
        """Return when nothing runs for any of them any more, or they are `drained` all the same; while `draining` only."""
        while self.running and not self.drained.is_set():
            if self._all_done is None:
                self._all_done = trio.Event()
            await self._all_done.wait()

    def conclude(self) -> None:
        """Be `drained`: nobody waits for those that are left, if any are."""
        self.draining.set()
        self.drained.set()
        if self._all_done is not None:
            self._all_done.set()

    # From the first packet to the last task.

    def begin(self, connection: Connection, transport: Transport) -> None:
        """Open ``connection``, carried by ``transport``; `start` or `Connection.run` must follow."""
        connection.opened(transport)
        self.newcomers.enter(connection, connection.displaced)
        self.by_id[connection.sid] = connection
        self.running.add(connection)
        services = self._services
        services.counters.handshakes += 1
        self.addresses.enter(connection.request.address)
        if services.instrument is not None:
            services.instrument.session_opened(connection.sid, transport.state.value, connection.request)

    def start(self, connection: Connection) -> None:
        """Run ``connection`` in a task of its own."""
        assert self._nursery is not None, "without it no handshake is admitted"
        self._nursery.start_soon(connection.run)

    # What connections call (`Registry`).

    def established(self, connection: Connection) -> None:
        """Count ``connection`` among the newcomers no more."""
        self.newcomers.remove(connection)

    def forget(self, connection: Connection) -> None:
        """Let the session id of ``connection`` be unknown from now on; idempotent."""
        self.by_id.pop(connection.sid, None)

    def over(self, connection: Connection) -> None:
        """Count ``connection`` no more: all that ran for it is done."""
        self.running.discard(connection)
        counters = self._services.counters
        counters.dropped_packets += connection.outbox.dropped
        if connection.fault is not None:
            counters.closed[outcome_of(connection.fault).reason] += 1
        self.addresses.leave(connection.request.address)
        if not self.running and self._all_done is not None:
            self._all_done.set()
