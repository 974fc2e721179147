"""`Socket.data` of a type: written down for another server, and read again there, or refused with a sentence that helps."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, NamedTuple, TypedDict, TypeVar

import attrs
import msgspec
import pydantic
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from trio_sio import Limits
from trio_sio.cluster import payload
from trio_sio.errors import DecodeError, EncodeError
from trio_sio.namespaces.data_types import MOST_ENTRIES, DataType, read_data, write_data
from trio_sio.namespaces.records import SessionRecord, is_plain

T = TypeVar("T")

LIMITS = Limits()
MIDNIGHT = datetime.datetime(2026, 11, 29, tzinfo=datetime.UTC)


def over_the_bus(written: object) -> Any:
    """Return what another server reads of what one has written."""
    return payload.loads(payload.dumps({"typed": written}, LIMITS, payload.MAX_BYTES), LIMITS, payload.MAX_BYTES)["typed"]


def travel(data: object, annotation: Any = None) -> Any:
    """Return what another server has of ``data`` that knows the same type."""
    data_type = DataType(annotation or type(data))
    return data_type.read(over_the_bus(data_type.write(data)))


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(NamedTuple):
    x: float
    y: float


@dataclass
class Visit:
    when: datetime.datetime
    page: str = ""


@dataclass
class Session:
    """All that a type may have in it."""

    name: str = ""
    score: float = 0.0
    token: bytes = b""
    colour: Colour | None = None
    place: Point | None = None
    since: datetime.datetime | None = None
    day: datetime.date | None = None
    patience: datetime.timedelta = datetime.timedelta()
    money: decimal.Decimal = decimal.Decimal(0)
    id: uuid.UUID | None = None
    tags: set[str] = field(default_factory=set)
    numbers: frozenset[int] = frozenset()
    pair: tuple[int, str] = (0, "")
    visits: list[Visit] = field(default_factory=list)
    by_page: dict[str, Visit] = field(default_factory=dict)
    anything: Any = None


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
integers = st.integers(-(2**63), 2**64 - 1)
moments = st.datetimes(timezones=st.just(datetime.UTC)) | st.datetimes()
visits = st.builds(Visit, when=moments, page=texts)
plain = st.recursive(
    st.none() | st.booleans() | integers | st.floats(allow_nan=False, allow_infinity=False) | texts | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
numbers = st.floats(allow_nan=False, allow_infinity=False)
sessions = st.builds(
    Session,
    name=texts,
    score=numbers | st.integers(-(2**53), 2**53),
    token=st.binary(max_size=5),
    colour=st.none() | st.sampled_from(Colour),
    place=st.none() | st.builds(Point, numbers, numbers),
    since=st.none() | moments,
    day=st.none() | st.dates(),
    patience=st.timedeltas(datetime.timedelta(-1000), datetime.timedelta(1000)),
    money=st.decimals(allow_nan=False, allow_infinity=False),
    id=st.none() | st.uuids(),
    tags=st.sets(texts, max_size=3),
    numbers=st.frozensets(st.integers(-(2**63), 2**63 - 1), max_size=3),
    pair=st.tuples(st.integers(0, 9), texts),
    visits=st.lists(visits, max_size=2),
    by_page=st.dictionaries(texts, visits, max_size=2),
    anything=plain,
)


@given(session=sessions)
def test_whatever_fits_the_type_is_the_same_on_another_server(session: Session) -> None:
    assert travel(session) == session


@given(value=st.recursive(plain | visits | moments | st.sets(texts, max_size=2) | st.tuples(texts) | st.just(object()), st.lists))
def test_what_would_not_be_the_same_does_not_leave(value: object) -> None:
    """Here nothing is known of what a field has, so only what is plain comes out as it was."""
    session = Session(anything=value)
    try:
        again = travel(session)
    except EncodeError:
        assert not is_plain(value)
    else:
        assert again == session
        assert is_plain(value)


@given(data=st.dictionaries(texts, plain | st.integers(), max_size=4))
def test_plain_data_is_what_is_the_same_on_another_server(data: dict[str, Any]) -> None:
    if is_plain(data):
        assert over_the_bus(data) == data


@pytest.mark.parametrize("data", [{"x": 2**64}, {"x": [b"", -(2**63) - 1]}, {"x": float("inf")}, {1: 2}, {"x": (1,)}], ids=repr)
def test_what_would_be_something_else_elsewhere_is_not_plain(data: dict[Any, Any]) -> None:
    assert not is_plain(data)
    with pytest.raises(EncodeError, match="is not a dict of plain data"):
        write_data(data, None)


class Struct(msgspec.Struct, rename="camel", omit_defaults=True):
    first_name: str = ""
    seen: list[datetime.datetime] = []


class Tagged(msgspec.Struct, tag=True, array_like=True):
    token: bytes = b""


class Keys(TypedDict):
    name: str
    since: datetime.datetime


class Partial(TypedDict, total=False):
    name: str


@attrs.define
class Attrs:
    name: str = ""
    when: list[datetime.date] = attrs.field(factory=list)


class Model(pydantic.BaseModel):
    first_name: str = pydantic.Field("", alias="firstName")
    when: datetime.datetime | None = None
    token: bytes = b""


@dataclass(slots=True, frozen=True)
class Slots:
    name: str = ""


@dataclass
class Of(Generic[T]):
    value: T


@dataclass
class Lazy:
    name: str = "Ann"

    @functools.cached_property
    def initial(self) -> str:
        return self.name[:1]


def lazy() -> Lazy:
    data = Lazy()
    assert data.initial == "A"
    return data


TRAVELLERS: dict[str, tuple[object, Any]] = {
    "a Struct": (Struct("Ann", [MIDNIGHT]), None),
    "one written as a list": (Tagged(b"\x00"), None),
    "one of several": (Tagged(b"\x00"), Tagged | None),
    "a TypedDict": (Keys(name="Ann", since=MIDNIGHT), Keys),
    "not all of one": (Partial(), Partial),
    "a class of attrs": (Attrs("Ann", [MIDNIGHT.date()]), None),
    "a model": (Model(firstName="Ann", when=MIDNIGHT, token=b"\xff"), None),
    "one with slots": (Slots("Ann"), None),
    "a generic one": (Of(MIDNIGHT), Of[datetime.datetime]),
    "one that has worked something out": (lazy(), None),
    "a dict with types": ({"Ann": MIDNIGHT}, dict[str, datetime.datetime]),
    "a dict": ({"Ann": [1, b"\x00"]}, dict),
    "a whole number for a fraction": (Session(score=3), None),
    "a NamedTuple": (Point(1.5, 2), None),
}


@pytest.mark.parametrize("what", TRAVELLERS)
def test_what_travels(what: str) -> None:
    data, annotation = TRAVELLERS[what]
    assert travel(data, annotation) == data


def test_what_travels_is_a_copy() -> None:
    shared = ["a"]
    kinds: list[tuple[object, DataType | None, Callable[[Any], object]]] = [
        ({"x": shared}, None, lambda data: data["x"]),
        (Session(anything=shared), DataType(Session), lambda data: data.anything),
    ]
    for data, data_type, kept in kinds:
        written = write_data(data, data_type)
        record = SessionRecord("id", "pid", frozenset(), written, 1.0, None, data_type is not None)
        first, second = (read_data(dataclasses.replace(record, data=over_the_bus(written)), data_type) for _ in range(2))
        shared.append("b")
        assert [kept(one) for one in (first, second)] == [["a"], ["a"]]
        shared.pop()
    # A default that can be changed is nobody else's.
    one, other = (DataType(Struct).read({}) for _ in range(2))
    assert isinstance(one, Struct)
    one.seen.append(MIDNIGHT)
    assert other == Struct()


class Plain:
    """Nobody knows what it has."""


@dataclass
class WithTask:
    scope: trio.CancelScope | None = None


@dataclass
class Numbered:
    by_number: dict[int, str] = field(default_factory=dict)


@dataclass
class Counting:
    count: int = 0

    def __post_init__(self) -> None:
        self.count += 1


@dataclass
class Raising:
    name: str = ""

    def __post_init__(self) -> None:
        if self.name == "Ann":
            raise LookupError("no Ann here")


@dataclass
class Derived(Session):
    more: int = 0


@dataclass(eq=False)
class Unequal:
    name: str = "Ann"


def with_more() -> Session:
    session = Session()
    session.more = 1  # type: ignore[attr-defined]
    return session


def circle() -> Session:
    session = Session()
    session.anything = [session]
    return session


STAYERS: dict[str, tuple[Callable[[], object], Any, str]] = {
    "no record": (Plain, Plain, "is Plain, which msgspec does not know"),
    "what belongs to the process": (WithTask, WithTask, "is WithTask, which msgspec does not know"),
    "keys that are numbers": (Numbered, Numbered, "is Numbered, which msgspec does not know"),
    "two types at once": (Session, Session | Visit, "msgspec does not know"),
    "a name that nobody knows": (Session, "Nowhere", "is Nowhere, which msgspec does not know"),
    "another type": (dict, Session, "it would not be the same"),
    "one that has more": (Derived, Session, "it would not be the same"),
    "an attribute that is no field": (with_more, Session, "it would not be the same"),
    "a date where nothing is said": (lambda: Session(anything=MIDNIGHT), Session, "it would not be the same"),
    "a tuple where nothing is said": (lambda: Session(anything=(1,)), Session, "it would not be the same"),
    "NaN": (lambda: Session(score=float("nan")), Session, "it would not be the same"),
    "an integer without end": (lambda: Session(anything=2**64), Session, "it would not be the same"),
    "itself": (circle, Session, "nested too deeply"),
    "something else than it says": (lambda: Session(name=1), Session, "Expected `str`, got `int`"),  # type: ignore[arg-type]
    "an object": (lambda: Session(anything=object()), Session, "neither plain nor a record"),
    "what is not complete": (lambda: Keys(name="Ann"), Keys, "missing required field `since`"),  # type: ignore[typeddict-item]
    "what has more keys": (lambda: {"name": "Ann", "more": 1}, Partial, "it would not be the same"),
    "what is made another": (Counting, Counting, "it would not be the same"),
    "what is not made again": (lambda: dataclasses.replace(Raising(), name="Ann"), Raising, "no Ann here"),
    "numbers without end": (lambda: Session(numbers=frozenset(range(MOST_ENTRIES + 1))), Session, f"more than {MOST_ENTRIES} entries"),
}


@pytest.mark.parametrize("what", [what for what in STAYERS if what != "what is not made again"])
def test_what_does_not_travel_is_refused_with_what_to_do(what: str) -> None:
    make, annotation, problem = STAYERS[what]
    with pytest.raises(EncodeError, match=re.escape(problem)) as refused:
        DataType(annotation).write(make())
    assert re.search("make it a dataclass|keep elsewhere", str(refused.value))


def test_a_constructor_that_raises_refuses() -> None:
    data = Raising()
    data.name = "Ann"
    with pytest.raises(EncodeError, match="no Ann here"):
        DataType(Raising).write(data)
    with pytest.raises(DecodeError, match="no Ann here"):
        DataType(Raising).read({"name": "Ann"})


def test_equal_is_what_has_equal_fields() -> None:
    again = travel(Unequal())
    assert isinstance(again, Unequal)
    assert again.name == "Ann"


Small = Annotated[int, msgspec.Meta(le=9)]
FOREIGN: dict[str, tuple[object, Any]] = {
    "nothing": (None, Session),
    "a list": ([], Session),
    "text": ("x", Session),
    "another type": ({"name": 5}, Session),
    "text for bytes": ({"token": "AAAA"}, Session),
    "a date that is none": ({"since": "yesterday"}, Session),
    "one without what is needed": ({}, Visit),
    "too much": ({"x": 10}, dict[str, Small]),
    "a set of lists": ([[]], set[object]),
    "numbers that collide": ([(2**61 - 1) * n % 2**64 for n in range(MOST_ENTRIES + 1)], set[int]),
    "keys that collide": ({str(uuid.UUID(int=n)): 0 for n in range(MOST_ENTRIES + 1)}, dict[uuid.UUID, int]),
    "no type": ({}, Plain),
}


@pytest.mark.hostile("D20")
@pytest.mark.parametrize("what", FOREIGN)
def test_what_comes_may_be_anything(what: str) -> None:
    """From another version, or from nobody."""
    written, annotation = FOREIGN[what]
    with pytest.raises(DecodeError, match=r"let all servers have the same Route\(\.\.\., data=\.\.\.\)"):
        DataType(annotation).read(written)


def test_two_versions() -> None:
    @dataclass
    class New:
        name: str = ""
        added: int = 7

    # Both ways: a field that only one of them has costs nothing if it has a default.
    data_type = DataType(New)
    assert data_type.read(DataType(Slots).write(Slots("Ann"))) == New("Ann", 7)
    assert DataType(Slots).read(data_type.write(New("Ann", 8))) == Slots("Ann")
    # One has a type and the other one none.
    record = SessionRecord("id", "pid", frozenset(), {"name": "Ann"}, 1.0)
    assert read_data(record, data_type) == New("Ann")
    with pytest.raises(DecodeError, match="has a type there and none here"):
        read_data(dataclasses.replace(record, is_typed=True), None)
