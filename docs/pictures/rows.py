"""The rows of a picture from an extractor: its weights on the small map, read and laid out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from roikit import RegionExtractor
from roikit.weights import Selection

from .reading import Part, Reading, read
from .sheet import BOX, HEIGHT, PARTS, WIDTH, Row, Small, corners, outline

NAMES = ("upper left", "upper right", "lower left", "lower right")
OTHERS = "#9aa2ad"


def rows_of(
    title: str,
    extractor: RegionExtractor,
    features: Tensor | None = None,
    caption: str = "",
    parts: Sequence[int] | None = None,
    box: Sequence[float] = BOX,
    background: bool = True,
    **extras: Any,
) -> list[Row]:
    """How an extractor reads the box of a map of 7 × 9 cells of one pixel.

    Args:
        title: above it.
        extractor: small: four parts are shown.
        features: ``Tensor[1, C, 7, 9]`` for one whose weights depend on them; zeros otherwise.
        caption: above the large panel, or what its kind of weights says.
        parts: which are shown, at most four; the corners of the grid otherwise.
        box: (x1, y1, x2, y2).
        background: show the given features.
        extras: further arguments of the extractor.

    Returns:
        One row, or one for each grid of a pyramid.
    """
    shown = features if background else None
    if features is None:
        channels = getattr(extractor, "channels", extractor.groups)
        features = torch.zeros(1, channels, HEIGHT, WIDTH)
    with torch.no_grad():
        weights = extractor.weights(features, [torch.tensor([list(box)])], 1.0, **extras)
        dense = weights.dense(HEIGHT, WIDTH)[0]
    values = dense.mean(0) if isinstance(weights, Selection) else dense[0]
    unit = "channels" if isinstance(weights, Selection) else "weights"
    rows, first = [], 0
    readings = read(weights, HEIGHT, WIDTH)
    for reading in readings:
        count = len(reading.parts)
        chosen = list(parts) if parts is not None else _corners(reading.grid)
        smalls = [
            Small(f"{unit} of {_name(k, reading)}, %", values[first + k].numpy(), colour)
            for k, colour in zip(chosen, PARTS, strict=False)
        ]
        about = caption or _caption(reading)
        line = corners(box) if "rotated_boxes" not in extras else None
        rows.append(
            Row(
                title if len(readings) == 1 else f"{title}: {reading.grid[0]}×{reading.grid[1]}",
                about,
                _drawing(reading, chosen, line, shown),
                smalls,
                reading.frame or line,
                reading.key,
            )
        )
        first += count
    return rows


def _corners(grid: tuple[int, int]) -> list[int]:
    h, w = grid
    return list(dict.fromkeys([0, w - 1, (h - 1) * w, h * w - 1]))


def _name(k: int, reading: Reading) -> str:
    grid = reading.grid
    if len(reading.parts) == 1:
        return "the one part"
    if not reading.placed or min(grid) == 1:
        return f"part {k}"
    return f"the {NAMES[k]} part" if grid == (2, 2) else f"part ({k // grid[1]}, {k % grid[1]})"


def _caption(reading: Reading) -> str:
    h, w = reading.grid
    if not reading.placed:
        return "the box, and the cells that are looked at" if not reading.sampled else "the box, and its parts' cells"
    return "the box, and where " + ("it is read" if (h, w) == (1, 1) else f"its {h}×{w} parts are read")


def _drawing(reading: Reading, chosen: list[int], line: list[tuple[float, float]] | None, features: Tensor | None):
    colour_of = dict(zip(chosen, PARTS, strict=False))

    def draw(axes: Any) -> None:
        if features is not None:
            image = features[0].mean(0) if features.shape[1] < 9 else features[0, 0]
            axes.imshow(image.numpy(), extent=(0, WIDTH, HEIGHT, 0), cmap="Greys", alpha=0.6, zorder=0)
        for x, y in reading.seen:
            axes.plot(x, y, "o", color=OTHERS, markersize=4.5, fillstyle="none", markeredgewidth=0.9, zorder=1)
        if line is not None:
            outline(axes, line, *((1.0,) if reading.frame else ()), linestyle="--" if reading.frame else "-")
        if reading.frame is not None:
            outline(axes, reading.frame)
        for cell in reading.sampled:
            axes.plot(*zip(*corners(cell), strict=True), color=OTHERS, linewidth=0.7, zorder=2.6)
        for border in reading.borders:
            outline(axes, border, 1.1, zorder=3)
        order = sorted(range(len(reading.parts)), key=lambda k: k in colour_of)
        for k in order:
            _draw_part(axes, reading.parts[k], colour_of.get(k), k if reading.whole else None)
        _draw_mixtures(axes, {colour: reading.parts[k].mixed for k, colour in colour_of.items()})

    return draw


def _draw_part(axes: Any, part: Part, colour: str | None, whole: int | None) -> None:
    from matplotlib.patches import Rectangle

    ink = colour or OTHERS
    inset = 0.0 if whole is None else 0.06 + 0.05 * (whole % 4)  # overlapping whole bins stay visible
    alpha = "00" if colour is None else f"{round(64 * min(max(part.strength, 0.0), 1.0)):02x}"
    for x1, y1, x2, y2 in part.bins:
        if x2 <= x1 or y2 <= y1:
            continue
        axes.add_patch(
            Rectangle(
                (x1 + inset, y1 + inset), x2 - x1 - 2 * inset, y2 - y1 - 2 * inset, facecolor=ink + alpha,
                edgecolor=ink, linewidth=1.6 if colour else 0.7, zorder=2 if colour else 1.8,
            )
        )  # fmt: skip
        text = part.label or ("" if part.strength == 1 else f"×{part.strength:.2g}")
        if text:
            axes.text(
                (x1 + x2) / 2, (y1 + y2) / 2, text, ha="center", va="center", fontsize=7.5, color=ink, weight="bold",
                zorder=6, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.2},
            )  # fmt: skip
    size = 5.0 if len(part.points) <= 9 else 3.6
    for x, y, share in part.points:
        axes.plot(
            x, y, "o", color=ink, markersize=size if colour else 2.4, alpha=max(0.25, min(share, 1.0)),
            markeredgecolor="white", markeredgewidth=0.7, zorder=5 if colour else 4,
        )  # fmt: skip
    for x, y in part.cells:
        if colour:
            axes.plot(x, y, "*", color=colour, markersize=15, markeredgecolor="white", markeredgewidth=0.9, zorder=5)


def _draw_mixtures(axes: Any, mixed: dict[str, list[tuple[float, float, float, float, float]]]) -> None:
    """The cells of a sampled grid: filled where one part takes them, a square for each part where several do."""
    from matplotlib.patches import Rectangle

    takers: dict[tuple[float, ...], int] = {}
    for cells in mixed.values():
        for *cell, _ in cells:
            takers[tuple(cell)] = takers.get(tuple(cell), 0) + 1
    for number, (colour, cells) in enumerate(mixed.items()):
        for x1, y1, x2, y2, share in cells:
            wide, tall = x2 - x1, y2 - y1
            if takers[x1, y1, x2, y2] == 1:
                axes.add_patch(Rectangle((x1, y1), wide, tall, facecolor=colour, alpha=0.5 * share, zorder=2))
                continue
            side = 0.46 * min(wide, tall) * share**0.5
            x, y = x1 + wide * (0.25 + 0.5 * (number % 2)), y1 + tall * (0.25 + 0.5 * (number // 2))
            axes.add_patch(Rectangle((x - side / 2, y - side / 2), side, side, facecolor=colour, alpha=0.8, zorder=2.5))


def smooth_noise(channels: int = 64, seed: int = 4) -> Tensor:
    """Features of neighbours that resemble each other, ``Tensor[1, channels, 7, 9]`` in 0-1."""
    from torch.nn.functional import avg_pool2d, pad

    noise = torch.rand(1, channels, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))
    return avg_pool2d(pad(noise, (1, 1, 1, 1), mode="replicate"), 3, 1)


def spots(*where: tuple[float, float], width: float = 0.8) -> Tensor:
    """One channel with a bump at each (x, y) in cells, ``Tensor[1, 1, 7, 9]``."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    total = sum(np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * width**2)) for a, b in where)
    return torch.tensor(total, dtype=torch.float32)[None, None]
