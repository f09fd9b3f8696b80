"""The report's picture as SVG: once for a wide screen and once for a phone, since text must not shrink."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lab.report.result import Span
from lab.report.timeline import Timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE, NARROW = 920, 350  # CSS pixels
PANEL, ROW = 165, 17  # their heights
AXIS = 55  # what the numbers to the left take
INK, PALE, LINE = "#1f2933", "#eef2f6", "#b4bfca"
OLD, NEW = "#8d99a6", "#1d62b0"
GOOD, PAGE, FAILED = "#2d7d5a", "#e0a100", "#c62f2f"
LEGEND: dict[str, Any] = {
    "edgecolor": "none",
    "borderpad": 0.1,
    "handlelength": 1,
    "handletextpad": 0.4,
    "columnspacing": 0.9,
}
STYLE: Any = {  # by the types of matplotlib each key would be one of a list
    "svg.fonttype": "path",  # the same on every machine
    "svg.hashsalt": "switchover",
    "font.size": 9.5,  # points: 12.7 CSS pixels
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


@dataclass(frozen=True)
class Picture:
    """An SVG as two `data:` addresses, which no browser fetches from anywhere."""

    wide: str
    narrow: str


def picture(line: Timeline) -> Picture:
    """Answers a second, how long they took, and where orders went, with the sections marked."""
    return Picture(_address(line, WIDE), _address(line, NARROW))


def _address(line: Timeline, width: int) -> str:
    """Draws it *width* CSS pixels wide."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        labels = _labels(line, width)
        heights = [max((label.row + 1 for label in labels), default=1) * ROW, *[PANEL] * 3]
        figure = Figure(figsize=(width / 96, (sum(heights) + 75) / 96), layout="constrained")
        head, *panels = figure.subplots(4, sharex=True, height_ratios=heights)
        for draw, panel in zip((_answers, _times, _orders), panels, strict=True):
            draw(panel, line)
            _frame(panel, line)
        head.set_ylim(0, heights[0] / ROW)
        head.set_axis_off()
        for mark, label in zip(line.marks, labels, strict=True):
            _section(head, panels, mark, label)
        step = next(step for step in (10, 30, 60, 120, 300, 600, 3600) if line.seconds / step <= width / 60)
        panels[-1].set_xticks(range(0, line.seconds + 1, step))
        panels[-1].xaxis.set_major_formatter(lambda second, _: f"{int(second) // 60}:{int(second) % 60:02}")
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    # Half the size: a hundredth of a point is enough.
    small = re.sub(rb'(?<=[ "])(-?\d+\.\d\d)\d+(?=[ "\n])', rb"\1", file.getvalue())
    return "data:image/svg+xml;base64," + base64.b64encode(small).decode()


def _answers(axes: Axes, line: Timeline) -> None:
    axes.set_title("Answers a second")
    sorts = [(line.good, GOOD, "good"), (line.page, PAGE, "maintenance page"), (line.failed, FAILED, "failed")]
    _stacked(axes, sorts)


def _times(axes: Axes, line: Timeline) -> None:
    axes.set_title("How long an answer took")
    axes.set_yscale("log")
    at = [second + 0.5 for second in range(line.seconds)]
    axes.plot(at, _gaps(line.longest), color=NEW, linewidth=1, marker=".", markersize=3, label="unluckiest visitor")
    axes.plot(at, _gaps(line.usual), color=INK, linewidth=1.5, label="usual visitor")
    axes.set_ylim(1, max(3000.0, 2 * max((time for time in line.longest if time), default=1.0)))
    axes.yaxis.set_major_formatter(lambda ms, _: f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.0f} s")
    axes.yaxis.set_minor_formatter(lambda *_: "")


def _orders(axes: Axes, line: Timeline) -> None:
    axes.set_title("Orders a second, by database")
    _stacked(axes, [(line.orders["old"], OLD, "old"), (line.orders["new"], NEW, "new")])


def _stacked(axes: Axes, sorts: Sequence[tuple[Sequence[int], str, str]]) -> None:
    edges = range(len(sorts[0][0]) + 1)
    below = [0] * len(sorts[0][0])
    for values, colour, name in sorts:
        top = [one + other for one, other in zip(below, values, strict=True)]
        if any(values):
            axes.stairs(top, edges, baseline=below, fill=True, color=colour, label=name)
        below = top
    axes.set_ylim(0, max([*below, 1]) * 1.1)


def _gaps(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else max(value, 1.0) for value in values]


def _frame(axes: Axes, line: Timeline) -> None:
    axes.set_xlim(0, line.seconds)
    axes.grid(axis="y", color=LINE, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", ncols=3, **LEGEND).set_in_layout(False)
        axes.set_ylim(top=_raised(axes))


def _raised(axes: Axes) -> float:
    """The end of the scale that leaves room for the legend."""
    low, high = axes.get_ylim()
    return high * (high / low) ** 0.2 if axes.get_yscale() == "log" else low + (high - low) * 1.22


@dataclass(frozen=True)
class Label:
    """A section's label: its row above the panels, counted from below, and on which side of its line it stands."""

    text: str
    row: int
    left: bool


def _labels(line: Timeline, width: int) -> list[Label]:
    """The sections' labels, placed so that none covers another or a line that leads to another."""
    a_second = (width - AXIS) / line.seconds
    taken: list[list[tuple[float, float]]] = []  # in each row
    labels = []
    for number, mark in enumerate(line.marks, 1):
        text = f"{number} {mark.name}" if width == WIDE else f"{number}"
        at, long = mark.started * a_second, 7.4 * len(text) + 8
        left = at + long > width - AXIS
        start, end = (at - long, at + 1) if left else (at - 1, at + long)
        free = (row for row, ends in enumerate(taken) if all(end <= one or other <= start for one, other in ends))
        row = next(free, len(taken))
        taken[row:] = taken[row:] or [[]]
        taken[row].append((start, end))
        for lower in taken[:row]:
            lower.append((at, at))
        labels.append(Label(text, row, left))
    return labels


def _section(head: Axes, panels: Sequence[Axes], mark: Span, label: Label) -> None:
    """A pale band, and a label above with a line down to where the section begins."""
    for axes in panels:
        axes.axvspan(mark.started, mark.ended, color=PALE, zorder=0, linewidth=0)
        axes.axvline(mark.started, color=LINE, linewidth=0.8, zorder=0.5)
    head.vlines(mark.started, 0, label.row + 1, color=LINE, linewidth=0.8)
    side = "right" if label.left else "left"
    offset = (-3 if label.left else 3, 2)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # over the lines that lead to others
    head.annotate(label.text, (mark.started, label.row), xytext=offset, textcoords="offset points", ha=side, bbox=box)
