"""Hostile Socket.IO packets: section S of the catalogue, as far as a connection is concerned.

What the decoder says to each of them is proved in tests/protocol. Here the packets arrive on a joined
connection, by WebSocket and by polling: it is closed, its socket is told "forced close", and nobody else notices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pytest

from tests.hostile.journal import Journal
from tests.hostile.socketio.speaking import ENDED, PLACEHOLDER, assert_forced_close
from tests.hostile.victim import (
    Victim,
)


def deep(opening: str, closing: str, levels: int = 100_000) -> str:
    return f'42["note",{opening * levels}{closing * levels}]'


# Every row with the messages each of which, on a joined connection, is its end.
FATAL: Final[dict[str, Sequence[str]]] = {
    "S01": ["4"],
    "S02": ["47", "49", "4x", '47["note",1]'],
    "S03": ['44{"message":"refused"}', '44"refused"'],
    "S05": ["40", '40{"token":1}', "40/,"],
    "S09": ["40/" + "n" * 255, "40/" + "n" * 100_000 + ",", '42/a\nb,["note",1]'],
    "S10": ["40/app,[]", '40/app,"x"', "40/app,null", "40/app,{", "40/app,{}{}"],
    "S12": ['40/app,{"token":"' + "x" * (64 * 1024) + '"}'],
    "S14": ['42/app,["note",1]', "43/app,1[]", "41/app,", f'451-/app,["note",{PLACEHOLDER}]'],
    "S16": ["41{}", "41[]", '41"bye"', "41/app,{}"],
    "S18": ["42", "421"],
    "S19": ["42{}", "42[]", '42"note"', "42null", "42[null]", "42[{}]", "42[[]]", "42[true]"],
    "S20": ["42[1.5]"],
    "S22": ['42["note"', '42["note",1]x', "42['note']", '42["note",]'],
    "S23": ['42 ["note"]', '42\ufeff["note"]', '4 2["note"]'],
    "S24": [f'42["{name}",1]' for name in ("connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener")],
    "S27": ['42["note",NaN]', '42["note",Infinity]', '42["note",-Infinity]', '42["note",{"a":[NaN]}]'],
    "S28": ['42["note",1e999]', '42["note",-1e999]'],
    "S29": ['42["note",' + "1" * 5_000 + "]"],
    "S31": [deep("[", "]"), deep('{"a":', "}").replace('{"a":}', '{"a":1}'), '42["note",' + "[" * 100_000, deep("[", "]", 513)],
    "S32": ['451-["note",' + "[" * 600 + PLACEHOLDER + "]" * 600 + "]"],
    "S33": ['42["note"' + ",1" * 100_000 + "]", '42["note"' + ",1" * 1_025 + "]"],
    "R10": ['42["note",[' + "[]," * 330_000 + "1]]", '42["note",[' + "[[]]," * 198_000 + "1]]"],
    "S35": [f'42{2**53}["note",1]'],
    "S36": ["42" + "9" * 400 + '["note",1]', "43" + "9" * 400 + "[]"],
    "S37": ['42-1["note",1]', '421.5["note",1]', '420x1["note",1]', '42²["note",1]', '42١["note",1]'],
    "S41": ["431{}", '431"x"', "431null"],
    "S45": ['450-["note",1]', f'450-["note",{PLACEHOLDER}]', "460-1[1]"],
    "S46": ['45["note",1]', '45-1-["note",1]', '451.5-["note",1]', '45-["note",1]', '45 -["note",1]', "45" + "1" * 100_000 + '-["note"]'],
    "S47": ['451e1-["note",1]', '450x1-["note",1]', '45²-["note",1]'],
    "S48": ['4511-["note",1]', '451000000000-["note",1]', '4599999999999999999999-["note",1]'],
    "S53": [
        f'451-["note",{{"_placeholder":true,"num":{num}}}]'
        for num in ("1", "-1", '"0"', "null", "true", "[0]", "1e0", "99999999999999999999")
    ]
    + ['451-["note",{"_placeholder":true}]'],
    "S54": ['451-["note",{"_placeholder":true,"num":0.5}]'],
    "S55": ['451-["note",{"_placeholder":true,"num":0.0}]'],
    "S59": [
        f"451-[{PLACEHOLDER}]",
        f'451-{{"a":{PLACEHOLDER}}}',
        f'451-["disconnect",{PLACEHOLDER}]',
        f'451-["newListener",{PLACEHOLDER}]',
    ],
}


@pytest.mark.parametrize("packets", [pytest.param(FATAL[row], marks=pytest.mark.hostile(row), id=row) for row in FATAL])
async def test_packet_closes_the_connection(victim: Victim, transport: str, journal: Journal, packets: Sequence[str]) -> None:
    for packet in packets:
        session = await victim.join(transport)
        await assert_forced_close(session, packet)
    victim.no_note()
    journal.expect(ENDED, times=len(packets))
