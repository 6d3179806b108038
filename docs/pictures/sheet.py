"""The layout of a picture: rows of a large panel with the geometry and small ones with the weights of parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from roikit.analysis.canvas import INK, QUIET, new_figure, panel, save_figure, write

HEIGHT, WIDTH = 7, 9  # cells of the map
BOX = (1.85, 1.15, 6.9, 5.1)  # in cells; its sides pass between the numbers in the cells
PARTS = ("#e4572e", "#1f9ed1", "#3fa34d", "#b5179e")
WIDE, LARGE, SMALL, GAP, MARGIN = 7.4, 3.2, 1.88, 0.16, 0.06  # inches
SHAPE = HEIGHT / WIDTH


@dataclasses.dataclass(frozen=True)
class Small:
    """A small panel: the weights of the cells in one part, in hundredths.

    Args:
        text: above it.
        values: ``[H, W]``.
        colour: of the part.
    """

    text: str
    values: np.ndarray
    colour: str


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a picture.

    Args:
        title: above it, in bold.
        caption: above the large panel.
        draw: draws the large panel, whose unit is a cell.
        smalls: at most four.
        outline: the box in the small panels, points (x, y); ``None`` for none.
        key: below the large panel: what its signs mean; one line each.
    """

    title: str
    caption: str
    draw: Callable[[Any], None]
    smalls: Sequence[Small]
    outline: Sequence[tuple[float, float]] | None = None
    key: Sequence[str] = ()

    @property
    def height(self) -> float:
        """In inches."""
        left = 0.49 + LARGE * SHAPE + 0.06 + 0.165 * len(self.key)
        right = 0.49 + SMALL * SHAPE + ((SMALL * SHAPE + 0.22) if len(self.smalls) > 2 else 0)
        return max(left, right) + 0.2


def save_rows(rows: Sequence[Row], path: Path) -> None:
    """Write a picture."""
    figure = new_figure(WIDE, 0.05 + sum(row.height for row in rows), dpi=150)
    top = 0.05
    for row in rows:
        _draw(figure, top, row)
        top += row.height
    save_figure(figure, path)


def _draw(figure: Any, top: float, row: Row) -> None:
    write(figure, MARGIN, top + 0.02, row.title, 9, weight="bold")
    axes = _map(figure, MARGIN, top + 0.32, LARGE, row.caption)
    axes.plot(
        [x + 0.5 for x in range(WIDTH) for _ in range(HEIGHT)], [y + 0.5 for _ in range(WIDTH) for y in range(HEIGHT)],
        ".", color="#b4bac4", markersize=2.5, zorder=0.5,
    )  # fmt: skip
    row.draw(axes)
    for k, line in enumerate(row.key):
        write(figure, MARGIN, top + 0.49 + LARGE * SHAPE + 0.06 + 0.165 * k, line, 7.5, color=QUIET)
    for k, small in enumerate(row.smalls):
        i, j = divmod(k, 2)
        left = MARGIN + LARGE + GAP + j * (SMALL + GAP)
        axes = _map(figure, left, top + 0.32 + i * (SMALL * SHAPE + 0.22), SMALL, small.text)
        numbers(axes, small.values, small.colour)
        if row.outline is not None:
            axes.plot(*zip(*row.outline, strict=True), color=INK, linewidth=1.0, zorder=1.5)


def _map(figure: Any, left: float, top: float, side: float, text: str) -> Any:
    """The empty map under a line of text, its upper left corner in inches."""
    write(figure, left, top - 0.005, text, 7.5, color=QUIET)
    axes = panel(figure, left, top + 0.17, side, side * SHAPE)
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(HEIGHT, 0)
    axes.set_aspect("equal")
    for k in range(WIDTH + 1):
        axes.plot([k, k], [0, HEIGHT], color="#c9ced6", linewidth=0.6, zorder=0.4, clip_on=False)
    for k in range(HEIGHT + 1):
        axes.plot([0, WIDTH], [k, k], color="#c9ced6", linewidth=0.6, zorder=0.4, clip_on=False)
    return axes


def numbers(axes: Any, values: np.ndarray, colour: str) -> None:
    """Cells as dark as their weights, with the weights in per cent."""
    from matplotlib.colors import to_rgb
    from matplotlib.patheffects import withStroke

    peak = max(float(np.abs(values).max()), 1e-9)
    opacity = np.clip(np.abs(values) / peak, 0, 1) ** 0.8 * 0.85
    rgba = np.ones((*values.shape, 4), np.float32)
    rgba[..., :3] = to_rgb(colour)
    rgba[..., 3] = opacity
    axes.imshow(rgba, extent=(0, WIDTH, HEIGHT, 0), interpolation="nearest", zorder=1)
    for (v, u), value in np.ndenumerate(values):
        if abs(value) >= 0.005:
            ground = 1 - opacity[v, u] * (1 - np.array(to_rgb(colour)))
            axes.text(
                u + 0.5, v + 0.5, f"{100 * value:.0f}", ha="center", va="center", fontsize=7, zorder=2,
                color=INK if abs(value) < 0.6 * peak else "white",
                path_effects=[withStroke(linewidth=1.8, foreground=tuple(ground))],  # the box goes on below it
            )  # fmt: skip


def outline(axes: Any, points: Sequence[tuple[float, float]], width: float = 1.8, **style: Any) -> None:
    """A closed line through (x, y) points, in ink."""
    axes.plot(*zip(*points, strict=True), color=INK, linewidth=width, **style)


def corners(box: Sequence[float]) -> list[tuple[float, float]]:
    """A box as a closed line."""
    x1, y1, x2, y2 = box
    return [(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)]
