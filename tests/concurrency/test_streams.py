from __future__ import annotations

import pytest

from trio_sio.concurrency.streams import pieces


@pytest.mark.parametrize(("size", "cut"), [(0, []), (1, [1]), (16_384, [16_384]), (16_385, [16_384, 1]), (50_000, [16_384] * 3 + [848])])
def test_what_is_sent_is_cut_into_pieces(size: int, cut: list[int]) -> None:
    data = bytes(number % 251 for number in range(size))

    assert [len(piece) for piece in pieces(data)] == cut
    assert b"".join(pieces(memoryview(data))) == data
