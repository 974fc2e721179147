"""Controllers that are written for any type: what their type variables stand for, or that nobody says it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Generic, ParamSpec, TypeVar

import pytest

from trio_sio import Route, RouteError, RoutingTable, Socket, on_any_message, on_connection, on_message
from trio_sio.signatures import generics
from trio_sio.testing import open_test_server

T = TypeVar("T")
U = TypeVar("U")
S = TypeVar("S")
P = ParamSpec("P")


@dataclass
class Hero:
    name: str
    level: int


@dataclass
class Villain:
    name: str
    crimes: list[str]


@dataclass
class Page(Generic[T]):
    items: list[T]


Kind = TypeVar("Kind", Hero, Villain)
Named = TypeVar("Named", bound=Hero)
NamedLater = TypeVar("NamedLater", bound="Hero")
Number = TypeVar("Number", int, str)


class Crud(Generic[T]):
    @on_message("create")
    async def create(self, item: T) -> list[object]:
        return [type(item).__name__, item]

    @on_message("create many")
    async def create_many(self, items: list[T], page: Page[T] | None = None, note: Annotated[T | None, "a note"] = None) -> object:
        return [[type(item).__name__ for item in items], page and type(page.items[0]).__name__, type(note).__name__]

    @on_message("rest")
    async def rest(self, *items: T) -> list[str]:
        return [type(item).__name__ for item in items]


class Heroes(Crud[Hero]): ...


class Best(Heroes): ...


class Mixin: ...


class Between(Mixin, Crud[U], Generic[U, S]):
    @on_message("pair")
    async def pair(self, first: U, second: S) -> list[str]:
        return [type(first).__name__, type(second).__name__]


class Partly(Between[Hero, S], Generic[S]): ...


class Fully(Partly[Villain]): ...


class Lists(Crud[list[U]], Generic[U]): ...


class ListsOfHeroes(Lists[Hero]):
    pass


class ByName(Crud["Hero"]): ...


class ByNameInside(Crud[list["Hero"]]): ...


class OwnWord(Crud[Hero]):
    @on_message("create")
    async def create(self, item: Hero) -> list[object]:
        return ["mine", item]


HERO = {"name": "Ada", "level": 3}
VILLAIN = {"name": "Bob", "crimes": ["theft"]}
BAD = {"status": "error", "message": "Expected `int`, got `str`", "path": "$[0].level"}


async def answers(controller: Any, event: str, *args: Any) -> Any:
    async with open_test_server(RoutingTable(Route("/", controller))) as server, server.client() as client:
        return await client.emit_with_ack(event, *args)


def make() -> Crud[Hero]:
    return Crud()


@pytest.mark.parametrize(
    "controller",
    [Heroes, Best, Heroes(), Crud[Hero], Crud[Hero](), partial(Crud[Hero]), partial(Heroes), Partly[Villain], Fully, ByName, make],
    ids=["class", "inherited", "shared", "alias", "shared alias", "partial alias", "partial", "partly", "fully", "text", "factory"],
)
async def test_a_type_variable_is_what_the_class_says(controller: Any) -> None:
    assert await answers(controller, "create", HERO) == ["Hero", HERO]
    assert await answers(controller, "create", {**HERO, "level": "x"}) == BAD
    assert await answers(controller, "create many", [HERO], {"items": [HERO]}, HERO) == [["Hero"], "Hero", "Hero"]
    assert await answers(controller, "create many", [HERO]) == [["Hero"], None, "NoneType"]
    assert await answers(controller, "rest", HERO, HERO) == ["Hero", "Hero"]


async def test_variables_of_several_levels() -> None:
    assert await answers(Fully, "pair", HERO, VILLAIN) == ["Hero", "Villain"]
    assert await answers(Partly[Hero], "pair", HERO, HERO) == ["Hero", "Hero"]
    assert await answers(Between[Villain, Hero], "pair", VILLAIN, HERO) == ["Villain", "Hero"]
    assert await answers(Between[Villain, Hero], "create", VILLAIN) == ["Villain", VILLAIN]


@pytest.mark.parametrize("controller", [ListsOfHeroes, Lists[Hero], ByNameInside])
async def test_a_variable_may_stand_for_what_has_variables(controller: Any) -> None:
    assert await answers(controller, "create", [HERO]) == ["list", [HERO]]
    assert (await answers(controller, "create", [{**HERO, "level": "x"}]))["path"] == "$[0][0].level"


async def test_a_method_that_is_written_anew_says_its_own() -> None:
    assert await answers(OwnWord, "create", HERO) == ["mine", HERO]
    assert await answers(OwnWord, "rest", HERO) == ["Hero"]


async def test_an_injected_parameter_may_be_a_variable() -> None:
    class Base(Generic[T]):
        @on_connection
        async def joined(self, who: T) -> None:
            self.who = who

        @on_message("who")
        async def is_socket(self) -> bool:
            return isinstance(self.who, Socket)

    class Mine(Base[Socket]): ...

    assert await answers(Mine, "who") is True


async def test_bounds_and_constraints_stand_in_for_what_nobody_says() -> None:
    class Bound(Generic[Named]):
        @on_message("create")
        async def create(self, item: Named) -> str:
            return type(item).__name__

    class BoundLater(Generic[NamedLater]):
        @on_message("create")
        async def create(self, item: NamedLater) -> str:
            return type(item).__name__

    class Constrained(Generic[Number]):
        @on_message("create")
        async def create(self, item: Number) -> str:
            return type(item).__name__

    class Inherits(Bound): ...  # type: ignore[type-arg]  # the missing argument is the subject

    for controller in (Bound, BoundLater, Inherits, Inherits()):
        assert await answers(controller, "create", HERO) == "Hero"
        assert await answers(controller, "create", {**HERO, "level": "x"}) == BAD
    assert await answers(Constrained, "create", 1) == "int"
    assert await answers(Constrained, "create", "1") == "str"
    assert (await answers(Constrained, "create", [1]))["status"] == "error"
    assert (await answers(Constrained[int], "create", "1"))["status"] == "error"


async def test_the_default_of_a_variable() -> None:
    # As Python 3.13 has it; `typing.TypeVar` of today has no such argument.
    class Base(Generic[T]):
        @on_message("create")
        async def create(self, item: T) -> str:
            return type(item).__name__

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generics, "_default_of", lambda variable: Hero)
        table = RoutingTable(Route("/", Base))
    async with open_test_server(table) as server, server.client() as client:
        assert await client.emit_with_ack("create", HERO) == "Hero"


async def test_a_variable_of_a_function_may_be_anything() -> None:
    class Echo:
        @on_message("echo")
        async def echo(self, value: T) -> T:
            return value

        @on_any_message
        async def other(self, event: str, *args: T) -> Sequence[T]:
            return args

    assert await answers(Echo, "echo", HERO) == HERO
    assert await answers(Echo, "else", 1, 2) == (1, 2)


@pytest.mark.parametrize("controller", [Crud, Crud(), Partly, Lists, partial(Crud)])
def test_a_variable_that_stands_for_nothing_is_refused(controller: Any) -> None:
    with pytest.raises(RouteError) as caught:
        RoutingTable(Route("/", controller))
    assert "is annotated with the type variable" in str(caught.value)
    assert "name the type where the class is inherited from, as in `class" in str(caught.value)


def test_the_sentence_names_method_parameter_and_class() -> None:
    class Forgetful(Crud): ...  # type: ignore[type-arg]  # the missing argument is the subject

    with pytest.raises(RouteError) as caught:
        Route("/", Forgetful)
    assert str(caught.value) == (
        "Forgetful.create: parameter 'item' is annotated with the type variable T, and nobody says what it is for Forgetful; name the type "
        "where the class is inherited from, as in `class Forgetful(Crud[...])`."
    )


def test_a_type_that_does_not_exist_is_refused() -> None:
    class Broken(Crud["Nobody"]): ...  # type: ignore[name-defined]  # the missing name is the subject

    with pytest.raises(RouteError, match=r"A type argument of .*Broken, .*Nobody.*, cannot be resolved"):
        Route("/", Broken)


def test_what_cannot_be_converted_is_refused_as_ever() -> None:
    class Odd(Crud[Socket]):
        @on_message("more")
        async def more(self, item: list[str]) -> None: ...

    class Numbers(Crud[complex]): ...

    with pytest.raises(RouteError, match=r"create_many: parameter 'items' is annotated .*Socket"):
        Route("/", Odd)
    with pytest.raises(RouteError, match="parameter 'item' is annotated complex"):
        Route("/", Numbers)


def test_other_kinds_of_variables_are_refused() -> None:
    class Base(Generic[P]):
        @on_message("x")
        async def x(self, item: Callable[P, int]) -> None: ...

    with pytest.raises(RouteError, match="only a TypeVar can be resolved in an annotation"):
        Route("/", Base)


async def test_generic_records_keep_their_own_variables() -> None:
    class Base(Generic[T]):
        @on_message("page")
        async def page(self, page: Page) -> str:  # type: ignore[type-arg]  # as msgspec understands it: of anything
            return type(page.items[0]).__name__

        @on_message("heroes")
        async def heroes(self, page: Page[Hero]) -> str:
            return type(page.items[0]).__name__

    assert await answers(Base, "page", {"items": [HERO]}) == "dict"
    assert await answers(Base, "heroes", {"items": [HERO]}) == "Hero"
