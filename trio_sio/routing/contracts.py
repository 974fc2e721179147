"""The contract of a routing table, from the signatures of its handlers and of the events that it declares."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from ..concurrency.functions import name_of
from ..contract.model import Argument, Contract, EventContract, NamespaceContract, Refusal
from ..contract.schemas import Slot, Types
from ..errors import ConnectionRefused, Refused, RouteError
from ..signatures.annotations import resolve_result
from ..signatures.conversion import UNTOUCHED, Parameter
from .refusals import data_of, doc_of

if TYPE_CHECKING:
    from ..signatures.events import ServerEvent
    from .binding import Binding
    from .controllers import Controller, MarkedFunction
    from .markers import Reply

__all__ = ["contract_of"]

_UNIONS: Final = (typing.Union, types.UnionType)


class Routed(Protocol):
    """A route, as far as the contract needs it."""

    @property
    def controller(self) -> Controller:
        """See `Route`."""

    @property
    def declared_events(self) -> Iterator[ServerEvent[..., object]]:
        """See `Route`."""


Refusals = Iterable[type[ConnectionRefused]]

Routes = Iterable[
    tuple[str | re.Pattern[str], Sequence[tuple[Routed, Iterable[tuple["MarkedFunction", str, "Binding", Refusals]]]], Refusals]
]
"""For each namespace its routes, each with its handlers, the events that these are for, how they are called, and with what they
refuse; and with what clients are refused that connect."""


class _Argument(NamedTuple):
    name: str
    slot: Slot
    required: bool


class _Refusal(NamedTuple):
    name: str
    description: str
    slot: Slot


class _Event(NamedTuple):
    """An event whose schemas are still to be made."""

    name: str
    description: str
    arguments: Sequence[_Argument]
    rest: _Argument | None
    answer: Sequence[Slot] | None
    refusals: Sequence[_Refusal] = ()


def contract_of(namespaces: Routes) -> Contract:
    """See `RoutingTable.contract`."""
    types_ = Types()
    drafts = []
    for namespace, routes, refusals in namespaces:
        sent = [_sent(types_, *handling) for _, handlings in routes for handling in handlings]
        heard: dict[str, _Event] = {}
        for route, _ in routes:
            for event in route.declared_events:
                heard[event.name] = _declared(types_, event)
        for route, _ in routes:
            for handler in route.controller.handlers:
                for reply in handler.marks.replies:
                    if reply.declared is None:
                        heard[reply.event] = _same(types_, heard.get(reply.event), _replied(types_, handler, reply))
        docs = [doc for route, _ in routes if (doc := route.controller.doc)]
        drafts.append((namespace, "\n\n".join(docs), sent, [*heard.values()], _refusals(types_, refusals)))
    schemas, named = types_.schemas()

    def finished(event: _Event) -> EventContract:
        arguments = [Argument(name, schemas[slot], required) for name, slot, required in event.arguments]
        rest = None if event.rest is None else Argument(event.rest.name, schemas[event.rest.slot], False)
        answer = None if event.answer is None else [schemas[slot] for slot in event.answer]
        return EventContract(event.name, event.description, arguments, rest, answer, refused(event.refusals))

    def refused(refusals: Sequence[_Refusal]) -> list[Refusal]:
        return [Refusal(name, description, schemas[slot]) for name, description, slot in refusals]

    return Contract(
        [
            NamespaceContract(
                namespace if isinstance(namespace, str) else namespace.pattern,
                not isinstance(namespace, str),
                docs,
                [finished(event) for event in sent],
                [finished(event) for event in heard],
                refused(refusals),
            )
            for namespace, docs, sent, heard, refusals in drafts
        ],
        named,
    )


def _sent(types_: Types, handler: MarkedFunction, event: str, binding: Binding, refusals: Refusals) -> _Event:
    arguments = [_argument(types_, parameter, annotation, heard=False) for parameter, annotation in binding.arguments]
    rest = None if binding.rest is None else _argument(types_, *binding.rest, heard=False)
    # Through an `Ack` anything may be answered.
    results = [Any] if binding.injects_ack else _values_of(_result_of(handler))
    answer = None if results is None else [types_.add(one, heard=True) for one in results]
    # Others are no answer: the client learns that the server failed.
    answerable = [refusal for refusal in refusals if issubclass(refusal, Refused)]
    return _Event(event, _doc_of(handler.function), arguments, rest, answer, _refusals(types_, answerable))


def _refusals(types_: Types, refusals: Refusals) -> list[_Refusal]:
    found: dict[str, _Refusal] = {}
    for one in dict.fromkeys(refusals):
        name, number = name_of(one), 2
        while name in found:  # two modules may call theirs alike
            name, number = f"{name_of(one)}{number}", number + 1
        found[name] = _Refusal(name, doc_of(one), types_.add(data_of(one), heard=True))
    return [*found.values()]


def _declared(types_: Types, event: ServerEvent[..., object]) -> _Event:
    terms = event.terms
    arguments = [
        _argument(types_, parameter, annotation, heard=True)
        for parameter, annotation in zip((*terms.parameters, *_maybe(terms.rest)), terms.annotations, strict=True)
    ]
    rest = None if terms.rest is None else arguments.pop()
    results = _values_of(terms.annotation)
    answer = None if results is None else [types_.add(one, heard=False) for one in results]
    return _Event(event.name, _doc_of(event.function), arguments, rest, answer)


def _replied(types_: Types, handler: MarkedFunction, reply: Reply) -> _Event:
    annotation = _without_none(_result_of(handler))
    item = _item_of(annotation)
    if item is not None:
        return _Event(reply.event, _doc_of(handler.function), [], _Argument("values", types_.add(item, heard=True), False), None)
    values = _values_of(annotation) or []
    arguments = [_Argument(f"value{index or ''}", types_.add(one, heard=True), True) for index, one in enumerate(values)]
    return _Event(reply.event, _doc_of(handler.function), arguments, None, None)


def _same(types_: Types, known: _Event | None, event: _Event) -> _Event:
    """Return an event that two handlers emit, or the one that does."""
    if known is None:
        return event
    known_types, types = [[None if one is None else types_.of(one.slot) for one in (*each.arguments, each.rest)] for each in (known, event)]
    if known_types == types:
        return known
    return _Event(event.name, known.description, [], _Argument("values", types_.add(Any, heard=True), False), None)


def _maybe(parameter: Parameter | None) -> Iterator[Parameter]:
    if parameter is not None:
        yield parameter


def _argument(types_: Types, parameter: Parameter, annotation: Any, *, heard: bool) -> _Argument:
    slot = types_.add(Any if annotation in UNTOUCHED else annotation, heard=heard)
    # Defaults of what is heard are sent, too.
    return _Argument(parameter.name, slot, heard or parameter.default is inspect.Parameter.empty)


def _result_of(handler: MarkedFunction) -> Any:
    try:
        return resolve_result(handler.function, handler.where, handler.variables)
    except RouteError:
        return Any  # it is for type checkers only


def _values_of(annotation: Any) -> list[Any] | None:
    """Return what is sent for a result: a tuple is several values, ``None`` is none that says anything."""
    if annotation in (None, type(None)):
        return None
    if annotation in UNTOUCHED:
        return [Any]
    if typing.get_origin(annotation) in _UNIONS:
        members = typing.get_args(annotation)
        tuples = [one for one in members if one is tuple or typing.get_origin(one) is tuple]
        if tuples and set(members) == {*tuples[:1], type(None)}:
            first, *others = _values_of(tuples[0]) or [Any]
            return [first if first is Any else first | None, *others]
        return [Any] if tuples else [annotation]
    if typing.get_origin(annotation) is tuple:
        items = typing.get_args(annotation)
        return [Any] if Ellipsis in items else [one for one in items if one != ()]
    return [Any] if annotation is tuple else [annotation]


def _item_of(annotation: Any) -> Any:
    """Return what each value is where a tuple has any number of them, else ``None``."""
    if annotation is tuple:
        return Any
    first, *others = typing.get_args(annotation) if typing.get_origin(annotation) is tuple else (None,)
    return first if others == [Ellipsis] else None


def _without_none(annotation: Any) -> Any:
    """Return what `emits` sends, which is nothing for ``None``."""
    if typing.get_origin(annotation) not in _UNIONS:
        return annotation
    members = tuple(one for one in typing.get_args(annotation) if one is not type(None))
    return typing.Union[members]  # noqa: UP007  # a tuple of them


def _doc_of(function: Callable[..., object]) -> str:
    return inspect.getdoc(function) or ""
