"""All instruments of one server as one, behind a firewall.

Theory of operation
===================

Without instruments there is nothing: who would call one finds ``None`` where it looks anyway, or is a variant that was chosen
when something was made. What happens for each event or packet never asks whether there is one:

* an event of a client, and one that is emitted to one socket, go by the socket's `Listeners`, if there are any; with an instrument
  these are `ObservedListeners`, which each socket has then;
* the handlers of a socket are those of `SocketRoutes`, or of `ObservedRoutes`;
* a broadcast is heard by the namespace's `taps`, if there are any; with an instrument there is one more, which keeps them from
  being empty;
* the outbox of a connection is an `Outbox`, or an `ObservedOutbox`.

What happens once in the life of a session or socket looks at `Namespace.instrument`, or `Services.instrument`.

`Instruments` has, for each method, a function that calls all who override it, and catches what they raise. A method that
nobody overrides stays the one of `Instrument`, which does nothing.

What an instrument does may be what it is told of next. How deep that goes is counted for each of them: one that goes too far is
passed over, and the others, whose books are none of its business, are told all the same.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import trio

from ..concurrency.functions import fault_of_sync, let_go, name_of
from ..limits import CARRIED_BYTES, CARRIED_NAMES, MINUTE
from ..log import get_logger
from .instrument import Instrument

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Instruments", "check_instrument"]

logger = get_logger("trio_sio.instruments")

Method = Callable[..., Any]

_METHODS: Final = tuple(name for name, _ in inspect.getmembers(Instrument, inspect.isfunction) if not name.startswith("_"))
_SURROUNDING: Final = frozenset({"asking", "connecting", "delivering", "disconnecting", "handling"})
_TOO_DEEP: Final = "It is called because of what it does itself, and so on."
_MOST_NESTED: Final = 8  # calls of one instrument within others of it: it emits because it hears of what it emits


def check_instrument(instrument: object) -> None:
    """Raise `TypeError` unless ``instrument`` is one whose methods can be called."""
    if not isinstance(instrument, Instrument):
        hint = "give an instance, not the class" if inspect.isclass(instrument) else "derive it from trio_sio.Instrument"
        raise TypeError(f"instruments= has {instrument!r:.80}, which is no Instrument; {hint}.")
    for name in _METHODS:
        method = getattr(instrument, name)
        where = f"{name_of(type(instrument))}.{name}"
        if (fault := fault_of_sync(method)) is not None:
            if name in _SURROUNDING and inspect.isgeneratorfunction(inspect.unwrap(method)):
                raise TypeError(f"{where} returns a context manager, but is a generator function; put @contextlib.contextmanager above it.")
            raise TypeError(f"{where} is called and not awaited, but {fault}; write it with `def`, and let a task do what takes time.")
        if name in _SURROUNDING and inspect.isasyncgenfunction(inspect.unwrap(method)):
            raise TypeError(f"{where} makes an async context manager; write it with `def` and @contextlib.contextmanager.")


class _Depth:
    """How many calls of one instrument are under way, each because of what another of them does."""

    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls = 0


class _Overridden(NamedTuple):
    """A method of an instrument, and how deep that is in what it does itself."""

    method: Method
    depth: _Depth


class Instruments(Instrument):
    """Calls the methods of several instruments, in order.

    Args:
      instruments: The instruments, which were checked.
    """

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self._quiet_until: dict[str, float] = {}  # by method
        given = [(one, _Depth()) for one in instruments]
        for name in _METHODS:
            inherited = getattr(Instrument, name)
            methods = [_Overridden(getattr(one, name), depth) for one, depth in given]
            methods = [one for one in methods if getattr(one.method, "__func__", None) is not inherited]
            if name == "inject":
                self._injecting = methods
            elif methods:
                setattr(self, name, (self._surround if name in _SURROUNDING else self._tell)(name, methods))

    def inject(self, namespace: str, event: str) -> Mapping[str, str] | None:
        """See `Instrument.inject`: what all of them return, within the bounds that other servers have."""
        carried: dict[str, str] = {}
        size = 0
        for method, depth in self._injecting:
            depth.calls += 1
            try:
                if depth.calls > _MOST_NESTED:
                    raise RecursionError(_TOO_DEEP)
                for name, text in (method(namespace, event) or {}).items():
                    _require_text(name, text)
                    size += len(name.encode()) + len(text.encode())
                    if len(carried) >= CARRIED_NAMES or size > CARRIED_BYTES:
                        raise ValueError(f"No more than {CARRIED_NAMES} strings of {CARRIED_BYTES} bytes travel; {name!r:.80} is left out.")
                    carried[name] = text
            except Exception as error:
                self.complain("inject", method, error)
            finally:
                depth.calls -= 1
        return carried or None

    def _tell(self, name: str, methods: Sequence[_Overridden]) -> Method:
        def tell(*args: object) -> None:
            for method, depth in methods:
                depth.calls += 1
                try:
                    if depth.calls > _MOST_NESTED:
                        raise RecursionError(_TOO_DEEP)
                    result = method(*args)
                    if result is not None and let_go(result):
                        raise TypeError("It returned something that would have to be awaited.")
                except Exception as error:
                    self.complain(name, method, error)
                finally:
                    depth.calls -= 1

        return tell

    def _surround(self, name: str, methods: Sequence[_Overridden]) -> Method:
        # What these do is told to others of its methods, and never leads back to them.
        surrounding = [method for method, _ in methods]
        return lambda *args: _Surroundings(self, name, surrounding, args)

    def complain(self, name: str, method: Method, error: Exception) -> None:
        """Log what went wrong in ``method``, unless that was done within a minute for others of its name and owner."""
        where = f"{name_of(type(getattr(method, '__self__', method)))}.{name}"
        now = trio.current_time()
        if now >= self._quiet_until.get(where, now):
            self._quiet_until[where] = now + MINUTE
            logger.error("%s failed, which changes nothing else. For a minute this is not said again.", where, exc_info=error)


class _Surroundings(AbstractContextManager[None]):
    """The context managers that a method of several instruments returned: entered in order, left the other way round."""

    __slots__ = ("_args", "_entered", "_instruments", "_methods", "_name")

    def __init__(self, instruments: Instruments, name: str, methods: Sequence[Method], args: tuple[object, ...]) -> None:
        self._instruments = instruments
        self._name = name
        self._methods = methods
        self._args = args
        self._entered: list[tuple[Method, AbstractContextManager[object]]] = []

    def __enter__(self) -> None:
        for method in self._methods:
            try:
                manager = method(*self._args)
                if let_go(manager):
                    raise TypeError("It returned something that would have to be awaited.")
                manager.__enter__()
                self._entered.append((method, manager))
            except Exception as error:
                self._instruments.complain(self._name, method, error)
            except BaseException as end:
                self.__exit__(type(end), end, end.__traceback__)
                raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        while self._entered:
            method, manager = self._entered.pop()
            try:
                manager.__exit__(kind, error, traceback)
            except Exception as failure:
                if failure is not error:
                    self._instruments.complain(self._name, method, failure)
            except BaseException as end:
                # A cancellation that it raises again, or the end of the program: the others are left as well.
                self.__exit__(type(end), end, end.__traceback__)
                raise


def _require_text(name: object, text: object) -> None:
    if not isinstance(name, str) or not isinstance(text, str):
        raise TypeError(f"Only strings travel, not {name!r:.80}: {text!r:.80}.")
