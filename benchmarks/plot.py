"""Curves of time over the number of regions and of channels."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from roikit.analysis.canvas import QUIET, new_figure, save_figure, write
from roikit.bench.cases import Case
from roikit.bench.rows import Row
from roikit.bench.table import number

from .peers import NAMES

COLOURS = {
    "last": "#0b6e4f",
    "nchw": "#35b37e",
    "torchvision": "#d1495b",
    "onnxruntime": "#2f6db5",
    "openvino": "#8757b8",
    "mmcv": "#c77d0a",
    "copy": "#8b949e",
}
AXES = {"rois": "regions per call", "channels": "channels of the map"}
WIDTH, HEIGHT, LEFT, TOP, GAP, BELOW, LABELS = 3.6, 2.7, 0.85, 1.3, 0.7, 0.95, 2.3  # inches


@dataclasses.dataclass(frozen=True)
class Panel:
    """The rows along one axis: all of one operation, map and direction."""

    axis: str
    case: Case
    direction: str
    rows: list[Row]

    @property
    def title(self) -> str:
        return f"{self.case.of.label}, {self.direction}, {self.case.maps.label}"


def panels(rows: Sequence[Row], base: Case) -> list[Panel]:
    """A panel for every operation, map and direction with at least three points along an axis."""
    found = []
    for axis in AXES:
        groups: dict[tuple[Case, str], list[Row]] = {}
        for row in rows:
            others = {name: getattr(base, name) for name in ("rois", "channels", "batch", "dtype") if name != axis}
            if all(getattr(row.case, name) == value for name, value in others.items()):
                same = dataclasses.replace(row.case, **{axis: getattr(base, axis)})
                groups.setdefault((same, row.direction), []).append(row)
        for (case, direction), points in groups.items():
            points = sorted(points, key=lambda row: getattr(row.case, axis))
            if len({getattr(row.case, axis) for row in points}) >= 3 or (base.quick and len(points) >= 2):
                found.append(Panel(axis, case, direction, points))
    return found


def draw(rows: Sequence[Row], base: Case, title: str, subtitle: str, path: Path) -> Path:
    """Write the PNG.

    Raises:
        ValueError: no sweep over regions or channels is among the rows.
    """
    found = panels(rows, base)
    if not found:
        raise ValueError("--plot draws sweeps over regions or channels, and there is none: add --sweep rois")
    kinds = list(dict.fromkeys((p.axis, p.case.operation, p.case.pyramid) for p in found))
    directions = list(dict.fromkeys(p.direction for p in found))
    across = LEFT + len(directions) * (WIDTH + LABELS) + (len(directions) - 1) * GAP
    said = textwrap.wrap(subtitle, int(13 * across))  # so many letters fit an inch
    head = TOP + 0.2 * max(0, len(said) - 1)
    down = head + len(kinds) * (HEIGHT + BELOW) - 0.2
    figure = new_figure(across, down, dpi=150)
    write(figure, LEFT - 0.6, 0.22, title, size=15, weight="bold")
    for at, words in enumerate(said):
        write(figure, LEFT - 0.6, 0.58 + 0.2 * at, words, size=9, color=QUIET)
    for panel in found:
        left = LEFT + directions.index(panel.direction) * (WIDTH + LABELS + GAP)
        line = kinds.index((panel.axis, panel.case.operation, panel.case.pyramid))
        top = head + line * (HEIGHT + BELOW)
        rectangle = (left / across, 1 - (top + HEIGHT) / down, WIDTH / across, HEIGHT / down)
        curves(figure.add_axes(rectangle), panel)
        write(figure, left, top - 0.32, panel.title, size=10.5, weight="bold")
    return save_figure(figure, path)


def curves(axes: Any, panel: Panel) -> None:
    """Time over the axis, both logarithmic, with the range of the middle half; a name at each curve's end."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    ends = {}
    for name, colour in COLOURS.items():
        points = [(getattr(r.case, panel.axis), r.times[name]) for r in panel.rows if name in r.times]
        if not points:
            continue
        x, y = [p[0] for p in points], [p[1].median for p in points]
        ours, copy = name in ("nchw", "last"), name == "copy"
        axes.fill_between(x, [p[1].low for p in points], [p[1].high for p in points], color=colour, alpha=0.2, lw=0)
        axes.plot(
            x, y, color=colour, lw=2.4 if ours else 1.6, ls=(0, (3, 2)) if copy else "-", marker="" if copy else "o",
            ms=4.5 if ours else 3.5, mec="white", mew=0.6, zorder=3 if ours else 2, solid_capstyle="round",
        )  # fmt: skip
        ends[name] = y[-1]
    places = sorted({getattr(row.case, panel.axis) for row in panel.rows})
    axes.set(xscale="log", yscale="log", xlabel=AXES[panel.axis], ylabel="milliseconds")
    axes.set_xlim(places[0] / 1.15, places[-1] * 1.08)
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{round(value):,}".replace(",", "\u202f")))
    axes.yaxis.set_major_locator(LogLocator(numticks=12))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(True, color="#e7eaee", lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=8.5, colors=QUIET)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(fontsize=9, color=QUIET)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color("#c4cad1")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.07)  # room for names that have to move up
    for name, height in spaced(axes, ends).items():
        axes.annotate(
            f"{NAMES[name]}  {number(ends[name])} ms", (1, height), (7, 0), xycoords="axes fraction",
            textcoords="offset points", va="center", fontsize=8.5, color=COLOURS[name] if name != "copy" else QUIET,
            weight="bold" if name in ("nchw", "last") else "normal", annotation_clip=False,
        )  # fmt: skip


def spaced(axes: Any, ends: dict[str, float], least: float = 0.068) -> dict[str, float]:
    """Heights of the names, as shares of the axes: at their curves' ends, but not on each other."""
    import numpy as np

    low, high = np.log(axes.get_ylim())
    names = sorted(ends, key=lambda name: ends[name])
    wanted = [(np.log(ends[name]) - low) / (high - low) for name in names]
    heights = list(wanted)
    for _ in range(200):  # neighbours that are too close move apart, both by as much
        moved = False
        for i in range(len(heights) - 1):
            short = least - (heights[i + 1] - heights[i])
            if short > 1e-6:
                heights[i], heights[i + 1], moved = heights[i] - short / 2, heights[i + 1] + short / 2, True
        if not moved:
            break
    return dict(zip(names, heights, strict=True))
