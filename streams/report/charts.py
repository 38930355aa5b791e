"""Charts as inline SVG: lines and paired bars, with axes, a legend and one tooltip per point. No script, no outside file."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from sys import float_info

from markupsafe import Markup

_WIDTH, _HEIGHT = 640, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 30, 14, 48
_TICKS = 5

Point = tuple[float, float]
Tick = tuple[float, str]


@dataclass(frozen=True)
class Line:
    """One line of a chart; `note` is added to the tooltip of each point."""

    label: str
    points: Sequence[Point]
    color: str
    dashed: bool = False
    dots: bool = False
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Axis:
    """An axis: its label; and its ends and ticks, unless they follow from the points."""

    label: str
    span: tuple[float, float] | None = None
    ticks: Sequence[Tick] | None = None
    percent: bool = False


def line_chart(lines: Sequence[Line], x: Axis, y: Axis) -> Markup:
    """An `<svg>` with these lines. A line without points is left out of the legend."""
    drawn = [line for line in lines if line.points]
    frame = _Frame(drawn, x, y)
    parts = [frame.axes()]
    for line in drawn:
        path = " ".join(f"{frame.x(a):.1f},{frame.y(b):.1f}" for a, b in line.points)
        dash = ' stroke-dasharray="6 5"' if line.dashed else ""
        parts.append(f'<polyline points="{path}" fill="none" stroke="{line.color}" stroke-width="2.2"{dash}/>')
        if line.dots:
            notes = line.notes or [""] * len(line.points)
            for (a, b), note in zip(line.points, notes, strict=True):
                tip = f"{line.label}: {frame.x_word(a)}, {frame.y_word(b)}{note and f', {note}'}"
                parts.append(
                    f'<circle cx="{frame.x(a):.1f}" cy="{frame.y(b):.1f}" r="4" fill="{line.color}">'
                    f"<title>{escape(tip)}</title></circle>"
                )
    return _svg(parts, [(line.label, line.color, line.dashed) for line in drawn])


def bar_chart(groups: Sequence[str], bars: Sequence[tuple[str, str, Sequence[float]]], y: Axis) -> Markup:
    """An `<svg>` with bars side by side for each group; `bars` are a label, a colour and one value per group."""
    top = max((value for _, _, values in bars for value in values), default=0.0) or 1.0
    marks = [(i + 0.5, name) for i, name in enumerate(groups)]
    frame = _Frame([], Axis("", (0.0, float(len(groups))), marks), Axis(y.label, (0.0, top * 1.05), None, y.percent))
    parts = [frame.axes()]
    width = 0.72 / max(len(bars), 1)
    for k, (label, color, values) in enumerate(bars):
        for i, value in enumerate(values):
            left, right = frame.x(i + 0.14 + k * width), frame.x(i + 0.14 + (k + 1) * width)
            height = frame.y(0.0) - frame.y(value)
            tip = escape(f"{groups[i]}, {label}: {frame.y_word(value)}")
            parts.append(
                f'<rect x="{left:.1f}" y="{frame.y(value):.1f}" width="{right - left - 1:.1f}" height="{height:.1f}"'
                f' fill="{color}"><title>{tip}</title></rect>'
            )
    return _svg(parts, [(label, color, False) for label, color, _ in bars])


def nice_ticks(low: float, high: float, count: int = _TICKS) -> list[float]:
    """Round numbers from `low` to `high`, about `count` of them.

    >>> nice_ticks(0.0, 1.0), nice_ticks(3.0, 47.0)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [10.0, 20.0, 30.0, 40.0])
    """
    rough = (high - low) / count
    # Below the smallest normal number a step has no power of ten.
    if not rough >= float_info.min:
        return [low]
    size = 10.0 ** floor(log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough * 0.999)
    first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def number(value: float, percent: bool = False) -> str:
    """A number for a person.

    >>> number(0.5, percent=True), number(1234567.0), number(0.4321), number(12.5)
    ('50 %', '1,234,567', '0.432', '12.5')
    """
    if percent:
        return f"{value * 100:.0f} %"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def short(value: float, percent: bool = False) -> str:
    """A number beside an axis.

    >>> short(1_500_000.0), short(2_000.0), short(0.25, percent=True)
    ('1.5 M', '2 k', '25 %')
    """
    for size, word in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size and not percent:
            return f"{value / size:.3g} {word}"
    return number(value, percent)


class _Frame:
    """Maps numbers to places on the canvas."""

    def __init__(self, lines: Sequence[Line], x: Axis, y: Axis) -> None:
        self._of_x, self._of_y = x, y
        self._x = x.span or _span([a for line in lines for a, _ in line.points])
        self._y = y.span or _padded(_span([b for line in lines for _, b in line.points]))

    def x(self, value: float) -> float:
        """The place of a number on the horizontal axis."""
        low, high = self._x
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """The place of a number on the vertical axis; a number beyond the axis is put at its end."""
        low, high = self._y
        share = min(max((value - low) / (high - low), 0.0), 1.0)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    def x_word(self, value: float) -> str:
        """The tooltip's text for a place on the horizontal axis."""
        ticks = self._of_x.ticks
        if ticks is None:
            return number(value, self._of_x.percent)
        return min(ticks, key=lambda tick: abs(tick[0] - value))[1]

    def y_word(self, value: float) -> str:
        """The tooltip's text for a height."""
        return number(value, self._of_y.percent)

    def axes(self) -> str:
        """Grid, ticks and labels."""
        bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
        x_ticks = self._of_x.ticks
        if x_ticks is None:
            x_ticks = [(tick, short(tick, self._of_x.percent)) for tick in nice_ticks(*self._x)]
        parts = []
        for value in nice_ticks(*self._y):
            at = self.y(value)
            word = escape(short(value, self._of_y.percent))
            parts.append(f'<line class="grid" x1="{_LEFT}" y1="{at:.1f}" x2="{right}" y2="{at:.1f}"/>')
            parts.append(f'<text class="tick" x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{word}</text>')
        for value, label in x_ticks:
            at = self.x(value)
            parts.append(f'<line class="mark" x1="{at:.1f}" y1="{bottom}" x2="{at:.1f}" y2="{bottom + 5}"/>')
            word = escape(label)
            parts.append(f'<text class="tick" x="{at:.1f}" y="{bottom + 19}" text-anchor="middle">{word}</text>')
        parts.append(f'<line class="axis" x1="{_LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}"/>')
        middle = (_TOP + bottom) / 2
        parts.append(
            f'<text class="label" x="{(_LEFT + right) / 2}" y="{_HEIGHT - 8}" text-anchor="middle">'
            f"{escape(self._of_x.label)}</text>"
            f'<text class="label" transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">'
            f"{escape(self._of_y.label)}</text>"
        )
        return "".join(parts)


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _padded(span: tuple[float, float]) -> tuple[float, float]:
    low, high = span
    room = (high - low) * 0.08
    return low - room, high + room


def _svg(parts: Sequence[str], legend: Sequence[tuple[str, str, bool]]) -> Markup:
    keys = []
    for label, color, dashed in legend:
        style = "dashed" if dashed else "solid"
        keys.append(f'<span class="key"><i style="border-top:3px {style} {color}"></i>{escape(label)}</span>')
    return Markup(
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{"".join(parts)}</svg>'
        f"<figcaption>{''.join(keys)}</figcaption></figure>"
    )
