"""The client. It imports `protocol`, `config` and `errors`, and has transports of its own."""

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
