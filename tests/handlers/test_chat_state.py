"""The chat's state: names, rooms, history, and the bounds of each."""

from __future__ import annotations

import pytest

from handlers.chat_state import HISTORY, LOBBY, NAME_LENGTH, NAMES_SHOWN, ROOMS, ROOMS_PER_PERSON, TEXT_LENGTH, Chat, clean_name, clean_text
from trio_sio import BadMessage


def chat_with(*names: str) -> Chat:
    """Return a chat with these people, whose socket ids are their names."""
    chat = Chat()
    for name in names:
        chat.claim(name, name)
    return chat


@pytest.mark.parametrize(
    ("given", "cleaned"),
    [
        ("Ada", "Ada"),
        ("  Ada  ", "Ada"),
        ("Zoe\u0308", "Zo\u00eb"),
        ("n" * NAME_LENGTH, "n" * NAME_LENGTH),
        ("<b>Ada</b>", "<b>Ada</b>"),
    ],
)
def test_a_name_is_trimmed_and_brought_into_one_form(given: str, cleaned: str) -> None:
    assert clean_name(given, "Your name") == cleaned


@pytest.mark.parametrize("name", ["", "   ", "n" * (NAME_LENGTH + 1), "a\nb", "a\u202eb", "a\u200bb", "a\x00b", "a\ud800b"])
def test_a_name_that_cannot_be(name: str) -> None:
    with pytest.raises(BadMessage, match=r"^Your name "):
        clean_name(name, "Your name")


def test_a_text_may_have_lines() -> None:
    assert clean_text("\n one\n\ttwo \n") == "one\n\ttwo"
    assert clean_text("t" * TEXT_LENGTH) == "t" * TEXT_LENGTH


@pytest.mark.parametrize("text", ["", " \n\t ", "t" * (TEXT_LENGTH + 1), "a\x00b", "a\x1b[31mb", "a\ud800b"])
def test_a_text_that_cannot_be(text: str) -> None:
    with pytest.raises(BadMessage):
        clean_text(text)


def test_a_taken_name_gets_the_first_free_number() -> None:
    chat = Chat()
    assert [chat.claim(sid, "Ada") for sid in "abc"] == ["Ada", "Ada 2", "Ada 3"]
    chat.forget("b")
    assert chat.claim("d", "Ada") == "Ada 2"
    chat.forget("a")
    assert chat.claim("e", "Ada") == "Ada"


@pytest.mark.parametrize("twin", ["ada", "ADA", "\uff21da"])
def test_names_that_look_alike_count_as_taken(twin: str) -> None:
    chat = chat_with("Ada")
    assert chat.claim("other", twin) == f"{twin} 2"


def test_a_person_is_in_rooms_until_forgotten() -> None:
    chat = chat_with("Ada", "Grace")
    for room in (LOBBY, "engines"):
        chat.enter("Ada", room)
        chat.enter("Grace", room)
    chat.leave("Grace", "engines")
    assert chat.people(LOBBY) == (2, ["Ada", "Grace"])
    assert chat.people("engines") == (1, ["Ada"])
    assert chat.rooms() == [{"name": LOBBY, "count": 2}, {"name": "engines", "count": 1}]
    assert sorted(chat.forget("Ada")) == ["engines", LOBBY]
    assert chat.people(LOBBY) == (1, ["Grace"])
    assert chat.forget("Ada") == []


def test_entering_twice_is_being_there_once() -> None:
    chat = chat_with("Ada")
    for _ in range(ROOMS_PER_PERSON + 1):
        chat.enter("Ada", LOBBY)
    assert chat.people(LOBBY) == (1, ["Ada"])


def test_leaving_where_one_is_not_is_harmless() -> None:
    chat = chat_with("Ada")
    chat.leave("Ada", LOBBY)
    chat.leave("Ada", "nowhere")
    assert chat.rooms() == [{"name": LOBBY, "count": 0}]


def test_one_room_too_many_for_a_person() -> None:
    chat = chat_with("Ada")
    for number in range(ROOMS_PER_PERSON):
        chat.enter("Ada", f"room {number}")
    with pytest.raises(BadMessage, match="leave one of them"):
        chat.enter("Ada", "one more")
    chat.leave("Ada", "room 0")
    chat.enter("Ada", "one more")


def fill_with_rooms(chat: Chat) -> None:
    """Make rooms until there is no place for another one, each with somebody in it."""
    for number in range(ROOMS - 1):
        person = f"person {number}"
        chat.claim(person, person)
        chat.enter(person, f"room {number}")


def test_one_room_too_many_for_the_server() -> None:
    chat = chat_with("Ada")
    fill_with_rooms(chat)
    assert len(chat.rooms()) == ROOMS
    with pytest.raises(BadMessage, match="join one of them"):
        chat.enter("Ada", "one more")
    assert len(chat.rooms()) == ROOMS


def test_the_stalest_empty_room_makes_place_and_the_lobby_never_does() -> None:
    chat = chat_with("Ada")
    fill_with_rooms(chat)
    chat.enter("Ada", "room 3")
    chat.leave("Ada", "room 3")
    chat.forget("person 3")
    chat.forget("person 7")
    chat.enter("Ada", "one more")
    names = {room["name"] for room in chat.rooms()}
    assert LOBBY in names
    assert "room 7" not in names, "its last arrival was before that of room 3"
    assert "room 3" in names


def test_an_empty_room_keeps_its_history() -> None:
    chat = chat_with("Ada", "Grace")
    chat.enter("Ada", "engines")
    chat.say("Ada", "engines", "hello", "m1")
    chat.forget("Ada")
    chat.enter("Grace", "engines")
    assert [message["text"] for message in chat.history("engines")] == ["hello"]


def test_the_history_keeps_the_latest() -> None:
    chat = chat_with("Ada")
    chat.enter("Ada", LOBBY)
    for number in range(HISTORY + 1):
        chat.say("Ada", LOBBY, str(number), f"m{number}")
    assert [message["text"] for message in chat.history(LOBBY)] == [str(number) for number in range(1, HISTORY + 1)]


def test_the_same_id_is_the_same_message() -> None:
    chat = chat_with("Ada")
    chat.enter("Ada", LOBBY)
    first, new = chat.say("Ada", LOBBY, "hello", "m1")
    assert new
    assert chat.say("Ada", LOBBY, "hello", "m1") == (first, False)
    assert chat.history(LOBBY) == [first]


@pytest.mark.parametrize("id", ["", "i" * 65, "\u00e9"])
def test_an_id_that_cannot_be(id: str) -> None:
    chat = chat_with("Ada")
    chat.enter("Ada", LOBBY)
    with pytest.raises(BadMessage):
        chat.say("Ada", LOBBY, "hello", id)
    assert chat.history(LOBBY) == []


@pytest.mark.parametrize("room", [LOBBY, "nowhere"])
def test_only_those_in_a_room_speak_there(room: str) -> None:
    chat = chat_with("Ada")
    with pytest.raises(BadMessage, match="join it first"):
        chat.say("Ada", room, "hello", "m1")
    assert not chat.is_in("Ada", room)


def test_a_crowd_is_counted_and_its_first_are_named() -> None:
    chat = chat_with(*(str(number) for number in range(NAMES_SHOWN + 1)))
    for number in range(NAMES_SHOWN + 1):
        chat.enter(str(number), LOBBY)
    count, names = chat.people(LOBBY)
    assert count == NAMES_SHOWN + 1
    assert names == [str(number) for number in range(NAMES_SHOWN)]
