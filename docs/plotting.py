"""Lines over a logarithmic axis as SVG: what grows with the number of clients, and what does not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 132, 44, 52
TICKS: Final = 5
COLOURS: Final = ("#1668b8", "#b5541c", "#4d7c2a", "#7a4ba0")

Points = Sequence[tuple[float, float]]


def plot(title: str, across: str, up: str, lines: Mapping[str, Points]) -> str:
    """Return lines as SVG, over a logarithmic axis and beside one that begins at zero.

    Args:
      title: What is shown.
      across: What the axis below means.
      up: What the axis at the left means.
      lines: For each its points, from left to right.
    """
    places = sorted({x for points in lines.values() for x, _ in points})
    most = max((y for points in lines.values() for _, y in points), default=1.0)
    step = _step(most)
    ticks = max(math.ceil(most / step - 1e-9), 1)
    frame = _Frame(min(places, default=1), max(places, default=10), step * ticks)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="10" fill="#fff"/>',
        _text(LEFT, 24, title, 'font-size="15" font-weight="bold"'),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, across, 'text-anchor="middle"'),
        _text(16, (TOP + HEIGHT - BOTTOM) / 2, up, f'text-anchor="middle" transform="rotate(-90 16 {(TOP + HEIGHT - BOTTOM) / 2:g})"'),
    ]
    for number in range(ticks + 1):
        y = frame.y(step * number)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#dde3ea"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{step * number:,g}", 'text-anchor="end"'))
    for place in places:
        parts.append(f'<path d="M{frame.x(place):.1f} {HEIGHT - BOTTOM}v5" stroke="#456"/>')
        parts.append(_text(frame.x(place), HEIGHT - BOTTOM + 18, f"{place:,g}", 'text-anchor="middle"'))
    labels = _labels({name: frame.y(points[-1][1]) for name, points in lines.items() if points})
    for (name, points), colour in zip(lines.items(), COLOURS, strict=False):
        if not points:
            continue
        path = "L".join(f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in points)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3.5" fill="{colour}"/>' for x, y in points]
        parts.append(_text(frame.x(points[-1][0]) + 10, labels[name] + 4, name, f'style="fill:{colour}" font-weight="bold"'))
    return "\n".join([*parts, "</svg>", ""])


class _Frame:
    """Where a point is in the picture."""

    def __init__(self, first: float, last: float, top: float) -> None:
        self._first = math.log(first)
        self._span = math.log(last) - self._first or 1.0
        self._top = top

    def x(self, value: float) -> float:
        return LEFT + 12 + (math.log(value) - self._first) / self._span * (WIDTH - LEFT - RIGHT - 24)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - value / self._top * (HEIGHT - TOP - BOTTOM)


def _text(x: float, y: float, said: str, more: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="#123" {more}>{escape(said)}</text>'


def _step(most: float) -> float:
    """Return the round number of which at most `TICKS` reach ``most``."""
    rough = max(most, 1e-9) / TICKS
    unit = 10.0 ** math.floor(math.log10(rough))
    return next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough * (1 - 1e-9))


def _labels(wanted: Mapping[str, float]) -> dict[str, float]:
    """Return where names stand at the ends of their lines, none on top of another one."""
    labels: dict[str, float] = {}
    for name, y in sorted(wanted.items(), key=lambda one: one[1]):
        labels[name] = max([y, *(other + 16 for other in labels.values())])
    return labels
