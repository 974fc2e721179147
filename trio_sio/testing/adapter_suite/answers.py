"""What clients answer, wherever they are."""

from __future__ import annotations

import pytest
import trio

from ...config import Config
from ...namespaces.answers import AckTimeout
from .base import Suite

__all__ = ["Answers"]


class Answers(Suite):
    """Acknowledgements of broadcasts."""

    async def test_everybody_answers_wherever_they_are(self) -> None:
        async with self.fleet(3) as fleet:
            for number in range(5):
                client = await fleet.client(number % 3, "a" if number else "b")
                client.on("question", lambda text, number=number: f"{text} {number}")
            assert sorted(map(str, await fleet.servers[0].emit_with_ack("question", "n"))) == [f"n {number}" for number in range(5)]
            assert sorted(map(str, await fleet.servers[1].to("a").emit_with_ack("question", "n"))) == [f"n {n}" for n in (1, 2, 3, 4)]
            assert await fleet.servers[2].to("b").emit_with_ack("question", "n") == ["n 0"]
            assert await fleet.servers[2].to("nobody").emit_with_ack("question", "n") == []

    @pytest.mark.parametrize(("answer", "value"), [(None, None), (b"\x01", b"\x01"), ({"a": [1]}, {"a": [1]}), ((1, 2), [1, 2])])
    async def test_an_answer_is_what_it_was(self, answer: object, value: object) -> None:
        async with self.fleet() as fleet:
            client = await fleet.client(1)
            client.on("question", lambda: answer)
            assert await fleet.servers[0].emit_with_ack("question") == [value]

    async def test_questions_of_two_servers_to_one_client_do_not_mix(self) -> None:
        async with self.fleet() as fleet:
            client = await fleet.client(1)
            gates = {number: trio.Event() for number in range(2)}

            async def answer(number: int) -> int:
                await gates[number].wait()
                return number

            client.on("question", answer)
            async with trio.open_nursery() as nursery:
                got = dict[int, object]()

                async def ask(number: int) -> None:
                    got[number] = await fleet.servers[number].emit_with_ack("question", number)

                nursery.start_soon(ask, 0)
                nursery.start_soon(ask, 1)
                gates[1].set()
                gates[0].set()
            assert got == {0: [0], 1: [1]}

    async def test_who_does_not_answer_is_not_waited_for_longer_than_that(self) -> None:
        async with self.fleet() as fleet:
            talkative, silent = await fleet.client(0), await fleet.client(1)
            talkative.on("question", lambda: "here")
            with pytest.raises(AckTimeout) as raised:
                await fleet.servers[0].timeout(self.PATIENCE).emit_with_ack("question")
            assert raised.value.responses == ["here"]
            assert len(raised.value.missing) == self.NAMES_THE_MISSING
            assert await silent.once("question") == ()

    async def test_who_goes_without_an_answer_is_not_waited_for(self) -> None:
        async with self.fleet(config=Config(ack_timeout=self.PATIENCE)) as fleet:
            stays, goes = await fleet.client(1), await fleet.client(1)
            stays.on("question", lambda: "here")
            goes.on("question", lambda: fleet.socket(1, goes).disconnect_nowait())
            try:
                answers = await fleet.servers[0].emit_with_ack("question")
            except AckTimeout as error:
                assert not self.TELLS_OF_LOST_ANSWERS
                answers = error.responses
            assert answers == ["here"]

    async def test_who_gives_up_asking_leaves_nothing_behind(self) -> None:
        async with self.fleet() as fleet:
            client = await fleet.client(1)
            for _ in range(3):
                with trio.move_on_after(0.05):
                    await fleet.servers[0].emit_with_ack("question")
            client.on("question", lambda: "now")
            assert await fleet.servers[0].emit_with_ack("question") == ["now"]

    async def test_answers_come_one_by_one_and_one_may_leave_before_the_last(self) -> None:
        async with self.fleet() as fleet:
            clients = [await fleet.client(number) for number in (0, 1, 1)]
            for number, client in enumerate(clients[:2]):
                client.on("question", lambda number=number: number)
            async with fleet.servers[0].timeout(60).acks("question") as answers:
                seen = [await anext(answers) for _ in range(2)]
            assert dict(seen).keys() <= {clients[0].id, clients[1].id, None}
            assert sorted(args[0] for _, args in seen if isinstance(args[0], int)) == [0, 1]
            for client in clients:
                client.on("again", lambda: "yes")
            assert await fleet.servers[0].emit_with_ack("again") == ["yes"] * 3

    async def test_many_questions_at_once_do_not_mix(self) -> None:
        async with self.fleet(3) as fleet:
            for number in range(6):
                client = await fleet.client(number % 3)
                client.on("question", lambda text, number=number: f"{text} {number}")
            got = dict[str, list[str]]()

            async def ask(text: str) -> None:
                got[text] = sorted(map(str, await fleet.servers[int(text[0])].emit_with_ack("question", text)))

            async with trio.open_nursery() as nursery:
                for number in range(30):
                    nursery.start_soon(ask, f"{number % 3}-{number}")
            assert got == {text: [f"{text} {number}" for number in range(6)] for text in got}
            assert len(got) == 30

    async def test_questions_for_this_server_alone_and_for_all_but_some(self) -> None:
        async with self.fleet() as fleet:
            clients = [await fleet.client(*place) for place in ((0, "a"), (1, "a"), (1, "b"))]
            for number, client in enumerate(clients):
                client.on("question", lambda number=number: number)
            server = fleet.servers[0]
            assert await server.local.emit_with_ack("question") == [0]
            assert await server.to("a").except_(clients[1].id).emit_with_ack("question") == [0]
            assert await server.to(clients[2].id).emit_with_ack("question") == [2]
            assert sorted(map(str, await server.except_("b").volatile().emit_with_ack("question"))) == ["0", "1"]
            assert await server.of("/chat").emit_with_ack("question") == []
