"""Ready-made controllers and a web page to try them with: what ``make run`` serves.

``/`` echoes, ``/chat`` is a chat with rooms. This package is not part of the wheel.
"""

from __future__ import annotations

from functools import partial

from trio_sio import Route, RoutingTable

from .chat import ChatController
from .chat_events import people, rooms, said, typing
from .chat_state import Chat
from .echo import EchoController

__all__ = ["routes"]

routes = RoutingTable(
    Route("/", EchoController),
    Route("/chat", partial(ChatController, chat=Chat()), events=[rooms, people, said, typing]),
)
