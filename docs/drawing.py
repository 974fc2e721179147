"""Boxes and arrows as SVG: each box above all that its arrows point to, and no line across a box."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Final, NamedTuple


@dataclass(frozen=True)
class Box:
    """One box of the picture.

    Attributes:
      says: What is in it.
      column: Where its middle is, from left to right.
      members: The parts of the package in it, if it is not one alone.
      width: In columns.
      lift: How many rows it is above where it could be.
    """

    says: str
    column: float
    members: tuple[str, ...] = ()
    width: float = 0.8
    lift: int = 0


class Arrow(NamedTuple):
    """One arrow of the picture."""

    source: str
    target: str
    lazy: bool


COLUMN, ROW, HEIGHT, MARGIN = 375, 96, 56, 24
GAP: Final = 32  # between lines side by side, and between lines and boxes


class Area(NamedTuple):
    """A rectangle, a line, or a point of the picture."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Area, gap: float) -> bool:
        """Tell whether they are less than ``gap`` apart, in both directions."""
        apart = max(other.left - self.right, self.left - other.right), max(other.top - self.bottom, self.top - other.bottom)
        return max(apart) < gap


def draw(boxes: Mapping[str, Box], arrows: list[Arrow]) -> str:
    """Return boxes and arrows as SVG."""
    areas = areas_of(boxes, arrows)
    width = max(area.right for area in areas.values()) + MARGIN
    height = max(area.bottom for area in areas.values()) + MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" font-family="sans-serif">',
        '<defs><marker id="head" viewBox="0 0 10 10" refX="10" refY="5" markerWidth="7" markerHeight="7" orient="auto">',
        '<path d="M0 0L10 5L0 10z" fill="#456"/></marker></defs>',
        f'<rect width="{width:g}" height="{height:g}" rx="10" fill="#fff"/>',
    ]
    for arrow, path in paths_of(arrows, areas).items():
        points = "L".join(f"{x:g} {y:g}" for x, y in path)
        dashes = ' stroke-dasharray="6 5"' if arrow.lazy else ""
        lines.append(f'<path d="M{points}" fill="none" stroke="#456" stroke-width="1.6" marker-end="url(#head)"{dashes}/>')
    for name, area in areas.items():
        x, y, box = (area.left + area.right) / 2, area.top, f'width="{area.right - area.left:g}" height="{HEIGHT}" rx="8"'
        lines += [
            f'<rect x="{area.left:g}" y="{y:g}" {box} fill="#eef4fb" stroke="#456"/>',
            f'<text x="{x:g}" y="{y + 24:g}" text-anchor="middle" font-size="17" font-weight="bold" fill="#123">{escape(name)}</text>',
            f'<text x="{x:g}" y="{y + 43:g}" text-anchor="middle" font-size="12" fill="#345">{escape(boxes[name].says)}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def areas_of(boxes: Mapping[str, Box], arrows: list[Arrow]) -> dict[str, Area]:
    """Return where the boxes are: each above all that it imports."""
    rows = {name: _height(name, arrows) + boxes[name].lift for name in boxes}
    left = min(box.column - box.width / 2 for box in boxes.values())
    areas = {}
    for name, box in boxes.items():
        x, y = MARGIN + COLUMN * (box.column - box.width / 2 - left), MARGIN + ROW * (max(rows.values()) - rows[name])
        areas[name] = Area(x, y, x + COLUMN * box.width, y + HEIGHT)
    return areas


def _height(name: str, arrows: list[Arrow]) -> int:
    return max((1 + _height(arrow.target, arrows) for arrow in arrows if arrow.source == name), default=0)


Line = list[tuple[float, float]]


def paths_of(arrows: list[Arrow], areas: dict[str, Area]) -> dict[Arrow, Line]:
    """Return the lines of the arrows; the shortest choose first."""
    paths: dict[Arrow, Line] = {}
    for arrow in sorted(arrows, key=lambda arrow: areas[arrow.target].top - areas[arrow.source].top):
        drawn = [segment for path in paths.values() for segment in segments_of(path)]
        paths[arrow] = _route(arrow, areas, drawn)
    return paths


def segments_of(path: Line) -> list[Area]:
    """Return the straight pieces of a line."""
    return [Area(min(x, a), min(y, b), max(x, a), max(y, b)) for (x, y), (a, b) in itertools.pairwise(path)]


def _route(arrow: Arrow, areas: dict[str, Area], drawn: list[Area]) -> Line:
    """Return the line of ``arrow``: straight down, or with one corner; past other boxes, and beside other lines."""
    source, target = areas[arrow.source], areas[arrow.target]
    others = [area for name, area in areas.items() if name not in (arrow.source, arrow.target)]
    for path in _candidates(source, target):
        segments = segments_of(path)
        if not any(one.meets(other, GAP / 2) for one in segments for other in others) and not any(
            one.meets(other, GAP / 2) for one in segments for other in drawn if _is_upright(one) == _is_upright(other)
        ):
            return path
    return [((source.left + source.right) / 2, source.bottom), ((target.left + target.right) / 2, target.top)]


def _is_upright(line: Area) -> bool:
    return line.left == line.right


def _candidates(source: Area, target: Area) -> Iterator[Line]:
    middle = (source.left + source.right) / 2
    inside = _places(max(source.left, target.left), min(source.right, target.right), middle)
    yield from ([(x, source.bottom), (x, target.top)] for x in inside)
    is_left = target.right < middle
    for down in _places(source.left, source.right, middle):
        for y in _places(target.top, target.bottom, (target.top + target.bottom) / 2):
            yield [(down, source.bottom), (down, y), (target.right if is_left else target.left, y)]
    for down in _places(target.left, target.right, (target.left + target.right) / 2):
        if not source.left <= down <= source.right:
            y = (source.top + source.bottom) / 2
            yield [(source.left if down < source.left else source.right, y), (down, y), (down, target.top)]


def _places(start: float, stop: float, wanted: float) -> list[float]:
    """Return places between both, those next to ``wanted`` first."""
    room = stop - start - GAP
    if room < 0:
        return []
    count = max(1, int(room / GAP))
    places = {start + GAP / 2 + room * number / count for number in range(count + 1)}
    if start + GAP / 2 <= wanted <= stop - GAP / 2:
        places.add(wanted)
    return sorted(places, key=lambda place: (abs(place - wanted), place))
