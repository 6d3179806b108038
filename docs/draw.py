"""The pictures of the documentation, drawn from what the extractors say: `python docs/draw.py [FOLDER]`.

A page shows how a method reads a region of 2 × 2 parts on a small map: the geometry on the left, drawn from the formula
on the page, and the dense weights of the four parts, which the extractor itself gives.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

import roikit
from roikit.analysis import view_region
from roikit.analysis.canvas import INK, QUIET, new_figure, panel, save_figure, write
from roikit.analysis.weight_panels import Seen, five_parts, largest_weights

HEIGHT, WIDTH = 7, 9  # cells of the map
BOX = (1.7, 1.3, 6.9, 5.1)  # in cells
PARTS = ("#e4572e", "#1f9ed1", "#3fa34d", "#b5179e")
NAMES = ("upper left", "upper right", "lower left", "lower right")
WIDE, LARGE, SMALL, GAP, MARGIN = 7.4, 3.2, 1.88, 0.16, 0.06  # inches
ROW = 2 * SMALL * HEIGHT / WIDTH + 0.9


def draw_all(folder: Path) -> None:
    """Every picture of the pages."""
    folder.mkdir(parents=True, exist_ok=True)
    roi_align(folder / "roi-align.png")
    roi_pool(folder / "roi-pool.png")
    max_pool(folder / "max-pool.png")
    pr_roi_pool(folder / "pr-roi-pool.png")
    deform_roi_pool(folder / "deform-roi-pool.png")
    extractors(folder / "extractors.png")


def roi_align(path: Path) -> None:
    """Sample points and weights, with and without the shift by half a cell."""
    rows = [
        ("aligned=True: the samples lie in the box", True),
        ("aligned=False: they are read half a cell to the lower right", False),
    ]
    figure = _figure(len(rows))
    for k, (text, aligned) in enumerate(rows):
        axes = _geometry(figure, k, text, "the box, its 2×2 parts, 2×2 samples in each")
        _bins(axes, BOX)
        for part, (xs, ys) in enumerate(_samples(aligned)):
            axes.plot(xs, ys, "o", color=PARTS[part], markersize=5, markeredgecolor="white", markeredgewidth=0.8)
        _parts(figure, k, roikit.RoIAlign(2, sampling_ratio=2, aligned=aligned))
    save_figure(figure, path)


def _samples(aligned: bool, samples: int = 2) -> list[tuple[list[float], list[float]]]:
    """The sample points of each part where they are read, as points of the plane in which cell 0 covers [0, 1)."""
    x1, y1, x2, y2 = BOX
    shift = 0.0 if aligned else 0.5  # unaligned: position v is taken for cell v, whose centre is at v + ½
    points = []
    for i in range(2):
        for j in range(2):
            across = [x1 + (x2 - x1) / 2 * (j + (s + 0.5) / samples) + shift for s in range(samples)]
            down = [y1 + (y2 - y1) / 2 * (i + (s + 0.5) / samples) + shift for s in range(samples)]
            points.append(([x for _ in down for x in across], [y for y in down for _ in across]))
    return points


def roi_pool(path: Path) -> None:
    """Whole cells of each part under both roundings."""
    figure = _figure(2)
    for k, (rounding, text) in enumerate(
        (
            ("caffe", "the box is rounded to cells, bins may overlap"),
            ("floor", "the ends of every bin are rounded down"),
        )
    ):
        axes = _geometry(figure, k, f'rounding="{rounding}": {text}', "the box, and the cells of its 2×2 parts")
        _whole_bins(axes, rounding)
        _bins(axes, BOX)
        _parts(figure, k, roikit.RoIPool(2, mode="average", rounding=rounding))
    save_figure(figure, path)


def _ranges(low: float, high: float, rounding: str) -> list[tuple[int, int]]:
    """The half-open range of cells of the two bins of an axis, by the formulas of the page."""
    if rounding == "caffe":
        start, end = math.floor(low + 0.5), math.floor(high + 0.5)
        beta = max(end - start + 1, 1) / 2
        return [(math.floor(i * beta) + start, math.ceil((i + 1) * beta) + start) for i in range(2)]
    beta = (high - low) / 2
    firsts = [math.floor(low + i * beta) for i in range(2)]
    return [(first, max(math.floor(low + (i + 1) * beta), first + 1)) for i, first in enumerate(firsts)]


def _whole_bins(axes: Any, rounding: str) -> None:
    from matplotlib.patches import Rectangle

    columns, rows = _ranges(BOX[0], BOX[2], rounding), _ranges(BOX[1], BOX[3], rounding)
    for part, ((a, b), (c, d)) in enumerate((r, q) for r in rows for q in columns):
        inset = 0.06 + 0.05 * part  # overlapping bins stay visible
        axes.add_patch(
            Rectangle(
                (c + inset, a + inset), d - c - 2 * inset, b - a - 2 * inset, facecolor=PARTS[part] + "30",
                edgecolor=PARTS[part], linewidth=2,
            )
        )  # fmt: skip


def max_pool(path: Path) -> None:
    """Which cells win, in one channel and over many."""
    g = torch.Generator().manual_seed(4)
    features = torch.rand(1, 64, HEIGHT, WIDTH, generator=g)
    features = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(features, (1, 1, 1, 1), mode="replicate"), 3, 1)
    extractor = roikit.RoIPool(2)
    view = view_region(extractor, features, torch.tensor(BOX), 1)
    figure = _figure(1)
    axes = _geometry(figure, 0, "Every channel takes the largest cell of each part", "the first of 64 channels")
    axes.imshow(features[0, 0].numpy(), extent=(0, WIDTH, HEIGHT, 0), cmap="Greys", alpha=0.75, zorder=0)
    _whole_bins(axes, "caffe")
    for part in range(4):
        v, u = divmod(int(view.weights[0, part].argmax()), WIDTH)
        axes.plot(u + 0.5, v + 0.5, "*", color=PARTS[part], markersize=15, markeredgecolor="white", markeredgewidth=0.9)
    _parts(figure, 0, extractor, features, "channels")
    save_figure(figure, path)


def pr_roi_pool(path: Path) -> None:
    """The integral over each bin, and RoI Align's samples on their way to it."""
    from matplotlib.patches import Rectangle

    figure = _figure(2)
    axes = _geometry(figure, 0, "Every point of a bin counts the same", "the box where it is read, its 2×2 parts")
    x1, y1, x2, y2 = (v + 0.5 for v in BOX)  # position v is the centre of cell v
    for part in range(4):
        i, j = divmod(part, 2)
        wide, tall = (x2 - x1) / 2, (y2 - y1) / 2
        axes.add_patch(
            Rectangle((x1 + j * wide, y1 + i * tall), wide, tall, facecolor=PARTS[part] + "50", edgecolor=PARTS[part])
        )
    _parts(figure, 0, roikit.PrRoIPool(2))
    x = torch.zeros(1, 1, HEIGHT, WIDTH)
    exact = view_region(roikit.PrRoIPool(2), x, torch.tensor(BOX), 1).mean[0].numpy()
    axes = _geometry(figure, 1, "The limit of RoI Align's samples", "samples in the upper left part: 1, 2×2, 8×8")
    x1, y1, x2, y2 = (v + 0.5 for v in BOX)
    for samples, size, colour in ((8, 1.6, "#8a93a0"), (2, 4, PARTS[1]), (1, 6, PARTS[0])):
        steps = [(s + 0.5) / samples / 2 for s in range(samples)]
        points = [(x1 + u * (x2 - x1), y1 + v * (y2 - y1)) for u in steps for v in steps]
        axes.plot(*zip(*points, strict=True), "o", color=colour, markersize=size)
    axes.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color=INK, linewidth=1.2)
    for k, samples in enumerate((1, 2, 8, 0)):
        extractor = roikit.RoIAlign(2, samples, aligned=False) if samples else roikit.PrRoIPool(2)
        values = view_region(extractor, x, torch.tensor(BOX), 1).mean[0].numpy()
        off = 50 * np.abs(values - exact).sum()
        times = f"{samples}×{samples} samples" if samples > 1 else "1 sample"
        axes = _axes(figure, 1, k + 1, f"{times}: {off:.0f}% are elsewhere" if samples else "PrRoIPool")
        _numbers(axes, values, PARTS[0])
    save_figure(figure, path)


def deform_roi_pool(path: Path) -> None:
    """RoI Align's bins at their places, and moved by offsets of 0.1 · RoI side and more."""
    from matplotlib.patches import Rectangle

    moves = torch.tensor(
        [[-1.6, 1.0, 0.0, 2.0], [0.5, 1.2, -1.4, 0.0]]
    )  # (y, x) of the four parts, in tenths of a side
    figure = _figure(2)
    for k, (text, factor) in enumerate((("At the start: RoI Align", 0.0), ("Every part has moved by itself", 1.0))):
        axes = _geometry(figure, k, text, "the box, and where its 2×2 parts are read")
        _bins(axes, BOX)
        x1, y1, x2, y2 = BOX
        wide, tall = (x2 - x1) / 2, (y2 - y1) / 2
        for part in range(4):
            i, j = divmod(part, 2)
            left = x1 + j * wide + 0.1 * factor * float(moves[1, part]) * (x2 - x1)
            top = y1 + i * tall + 0.1 * factor * float(moves[0, part]) * (y2 - y1)
            colour = PARTS[part]
            axes.add_patch(Rectangle((left, top), wide, tall, facecolor=colour + "40", edgecolor=colour, linewidth=1.6))
            points = [(left + u * wide, top + v * tall) for u in (0.25, 0.75) for v in (0.25, 0.75)]
            axes.plot(*zip(*points, strict=True), "o", color=colour, markersize=4, markeredgecolor="white")
        extractor = roikit.DeformRoIPool(1, 2)
        with torch.no_grad():
            extractor.offset.bias.copy_(factor * moves.flatten())
        _parts(figure, k, extractor)
    save_figure(figure, path)


def extractors(path: Path) -> None:
    """One region of a picture, as each extractor reads it."""
    from roikit.data.shapes import LEVELS, draw

    pixels, figures = draw(LEVELS["full"], "val", 3)
    image = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
    stride = 8
    # features that mean something to max pooling: oriented edges of the shrunk image
    grey = torch.nn.functional.avg_pool2d(image.float().mean(0)[None, None] / 255, stride)
    down, across = torch.gradient(grey[0, 0])
    angles = [k * math.pi / 8 for k in range(16)]
    features = torch.stack([math.cos(a) * across + math.sin(a) * down for a in angles]).relu()[None]
    largest = max(figures, key=lambda figure: (figure.box[2] - figure.box[0]) * (figure.box[3] - figure.box[1]))
    box = torch.tensor([float(v) for v in largest.box])
    kinds = (roikit.RoIPool(7), roikit.RoIAlign(7), roikit.PrRoIPool(7))
    side = (WIDE - 2 * MARGIN - 2 * GAP) / 3
    figure = new_figure(WIDE, 2 * side + 0.85, dpi=150)
    for k, extractor in enumerate(kinds):
        seen = Seen.of(image, view_region(extractor, features, box, stride))
        left = MARGIN + k * (side + GAP)
        write(figure, left, 0.06, type(extractor).__name__, 10, weight="bold")
        for m, (text, show) in enumerate(
            (("where it looks: the largest weight of a cell", largest_weights), ("five of its 49 parts", five_parts))
        ):
            top = 0.28 + m * (side + 0.28)
            write(figure, left, top, text, 7.5, color=QUIET)
            show(panel(figure, left, top + 0.18, side, side), seen)
    save_figure(figure, path)


def _figure(rows: int) -> Any:
    return new_figure(WIDE, 0.05 + rows * ROW, dpi=150)


def _axes(figure: Any, row: int, column: int, text: str = "") -> Any:
    """The map, empty: column 0 is the large panel on the left, 1 to 4 the four on the right."""
    side = LARGE if column == 0 else SMALL
    k, m = divmod(column - 1, 2)
    left = MARGIN if column == 0 else MARGIN + LARGE + GAP + m * (SMALL + GAP)
    top = 0.05 + row * ROW + (0.32 if column == 0 else 0.32 + k * (SMALL * HEIGHT / WIDTH + 0.22))
    if text:
        write(figure, left, top - 0.005, text, 7.5, color=QUIET)
    axes = panel(figure, left, top + 0.17, side, side * HEIGHT / WIDTH)
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(HEIGHT, 0)
    axes.set_aspect("equal")
    for k in range(WIDTH + 1):
        axes.plot([k, k], [0, HEIGHT], color="#c9ced6", linewidth=0.6, zorder=0, clip_on=False)
    for k in range(HEIGHT + 1):
        axes.plot([0, WIDTH], [k, k], color="#c9ced6", linewidth=0.6, zorder=0, clip_on=False)
    return axes


def _geometry(figure: Any, row: int, text: str, caption: str) -> Any:
    write(figure, MARGIN, 0.07 + row * ROW, text, 9, weight="bold")
    axes = _axes(figure, row, 0, caption)
    axes.plot(
        [x + 0.5 for x in range(WIDTH) for _ in range(HEIGHT)], [y + 0.5 for _ in range(WIDTH) for y in range(HEIGHT)],
        ".", color="#b4bac4", markersize=2.5, zorder=0,
    )  # fmt: skip
    return axes


def _bins(axes: Any, box: tuple[float, float, float, float]) -> None:
    """The box and its four equal parts, before any rounding."""
    x1, y1, x2, y2 = box
    axes.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color=INK, linewidth=1.8)
    axes.plot([(x1 + x2) / 2] * 2, [y1, y2], color=INK, linewidth=0.9, linestyle="--")
    axes.plot([x1, x2], [(y1 + y2) / 2] * 2, color=INK, linewidth=0.9, linestyle="--")


def _parts(figure: Any, row: int, extractor: Any, features: torch.Tensor | None = None, unit: str = "weights") -> None:
    """The dense weights of the four parts, in hundredths."""
    features = torch.zeros(1, 1, HEIGHT, WIDTH) if features is None else features
    weights = view_region(extractor, features, torch.tensor(BOX), 1).mean.numpy()
    for part in range(4):
        axes = _axes(figure, row, part + 1, f"{unit} of the {NAMES[part]} part, %")
        _numbers(axes, weights[part], PARTS[part])
        x1, y1, x2, y2 = BOX
        axes.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color=INK, linewidth=1.0)


def _numbers(axes: Any, values: np.ndarray, colour: str) -> None:
    """Cells as dark as their weights, with the weights in per cent."""
    from matplotlib.colors import to_rgb

    rgba = np.ones((*values.shape, 4), np.float32)
    rgba[..., :3] = to_rgb(colour)
    rgba[..., 3] = np.clip(values / max(float(values.max()), 1e-9), 0, 1) ** 0.8 * 0.85
    axes.imshow(rgba, extent=(0, WIDTH, HEIGHT, 0), interpolation="nearest", zorder=1)
    for (v, u), value in np.ndenumerate(values):
        if value >= 0.005:
            dark = value < 0.6 * values.max()
            axes.text(
                u + 0.5, v + 0.5, f"{100 * value:.0f}", ha="center", va="center", fontsize=6.2,
                color=INK if dark else "white", zorder=2,
            )  # fmt: skip


if __name__ == "__main__":
    draw_all(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "_pictures")
