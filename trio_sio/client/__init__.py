"""The client. It imports `protocol`, `config` and `concurrency`, and has transports of its own.

From what an application holds down to the bytes: `socket` (public) has a `core`, which changes its `membership`; `sending` sends
for it, `events` keep what came, and `handlers` hear it. `manager` (public) opens one session after another, which its sockets
share as their `connection`. A `session` is carried by one of the `transports`, `polling` (over `http`) or a `websocket`, and
moves from one to the other; both write and read on a `stream` to a `target`.
"""

from .events import Event
from .manager import Manager
from .open import open_client, open_manager
from .reconnection import Reconnection
from .socket import ClientSocket
from .states import Connected, Connecting, Ended, Lost, State, Upgraded, Waiting

__all__ = [
    "ClientSocket",
    "Connected",
    "Connecting",
    "Ended",
    "Event",
    "Lost",
    "Manager",
    "Reconnection",
    "State",
    "Upgraded",
    "Waiting",
    "open_client",
    "open_manager",
]
