"""`Instrument`: the one place where somebody looks in, to count, to trace or to show what a server does."""

from __future__ import annotations

from .socket import Socket
from .socket_instrument import SocketInstrument

__all__ = ["Instrument"]


class Instrument(SocketInstrument[Socket]):
    """Something that is told what a server does: ``Server(instruments=[...])``.

    Derive from it, override the methods that you want, none of which is async, and call no other thread's lock in them: they
    are called synchronously, where it happens, in the order of the list, and whatever they do everybody waits for. They may emit
    with `emit_nowait`, let a socket join or leave, or disconnect it; of what that brings about they are told in turn, eight calls deep
    at most, behind which this instrument alone is passed over. Do not keep a `Socket` beyond `socket_left`, `socket_refused`
    or `event_handled`, and do not change ``args``, which are those of the application; copy what is to be kept.

    What a method raises is a line in the log, once in a minute for each method, and changes nothing else. Those that return a
    context manager (write them with `contextlib.contextmanager`) surround something, in the task in which it runs, so what they
    set in a `contextvars.ContextVar` is seen by all that runs or is started in there. They cannot catch what it raises.

    The methods are in two parts: `SessionInstrument` is about sessions and the server, `SocketInstrument` about sockets, rooms, events,
    acknowledgements and other servers.
    """
