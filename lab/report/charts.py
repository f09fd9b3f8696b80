"""The report's picture as SVG: once for a wide screen and once for a phone, since text must not shrink."""

import base64
import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .timeline import Timeline

WIDE, NARROW = 920, 350  # CSS pixels
PANEL, ROW = 165, 17  # their heights
INK, PALE, LINE = "#1f2933", "#eef2f6", "#b4bfca"
OLD, NEW = "#8d99a6", "#1d62b0"
GOOD, PAGE, FAILED = "#2d7d5a", "#e0a100", "#c62f2f"
SPACING = {"borderpad": 0.1, "handlelength": 1, "handletextpad": 0.4, "columnspacing": 0.9}  # of a legend
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


def picture(line: Timeline, *, wide: bool) -> str:
    """Answers a second, how long they took, and where orders went, with the sections marked.

    An SVG as a `data:` address, which no browser fetches from anywhere.
    """
    width = WIDE if wide else NARROW
    with matplotlib.rc_context(STYLE):
        heights = [max(len(line.marks), 1) * ROW, *[PANEL] * 3]
        figure = Figure(figsize=(width / 96, (sum(heights) + 75) / 96), layout="constrained")
        head, *panels = figure.subplots(4, sharex=True, height_ratios=heights)
        _sections(head, line, names=wide)
        for draw, panel in zip((_answers, _times, _orders), panels, strict=True):
            draw(panel, line)
            _frame(panel, line)
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
    _stacked(axes, line, ("good", GOOD, "good"), ("page", PAGE, "maintenance page"), ("failed", FAILED, "failed"))


def _times(axes: Axes, line: Timeline) -> None:
    axes.set_title("How long an answer took")
    axes.set_yscale("log")
    at = [second + 0.5 for second in range(line.seconds)]
    axes.plot(at, _gaps(line.longest), color=NEW, linewidth=1, marker=".", markersize=3, label="slowest answer")
    axes.plot(at, _gaps(line.usual), color=INK, linewidth=1.5, label="usual visitor")
    axes.yaxis.set_major_formatter(lambda ms, _: f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.0f} s")
    axes.yaxis.set_minor_formatter(lambda *_: "")


def _orders(axes: Axes, line: Timeline) -> None:
    axes.set_title("Orders a second, by database")
    _stacked(axes, line, ("old", OLD, "old"), ("new", NEW, "new"))


def _stacked(axes: Axes, line: Timeline, *sorts: tuple[str, str, str]) -> None:
    there = [sort for sort in sorts if any(line.counts[sort[0]])] or sorts[:1]
    counts, colours, names = zip(*there, strict=True)
    seconds = range(line.seconds + 1)  # a step each, the last one to its end
    steps = [[*line.counts[count], line.counts[count][-1]] for count in counts]
    axes.stackplot(seconds, *steps, labels=names, colors=colours, step="post", linewidth=0)


def _gaps(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else max(value, 1.0) for value in values]


def _frame(axes: Axes, line: Timeline) -> None:
    axes.set_xlim(0, line.seconds)
    for mark in line.marks:
        axes.axvspan(mark.started, mark.ended, color=PALE, zorder=0, linewidth=0)
        axes.axvline(mark.started, color=LINE, linewidth=0.8, zorder=0.5)
    axes.grid(axis="y", color=LINE, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=0.25)  # room for the legend
    axes.set_ylim(bottom=1 if axes.get_yscale() == "log" else 0)
    axes.legend(loc="upper left", ncols=3, edgecolor="none", **SPACING).set_in_layout(False)


def _sections(axes: Axes, line: Timeline, *, names: bool) -> None:
    """A row for each section, with its number (and name) to the left."""
    labels = [f"{number} {mark.name}" if names else f"{number}" for number, mark in enumerate(line.marks, 1)]
    starts, widths = [mark.started for mark in line.marks], [mark.seconds for mark in line.marks]
    axes.barh(range(len(labels)), widths, left=starts, color=LINE)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(max(len(labels), 1) - 0.5, -0.5)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelbottom=False)
