"""What the weights of one region say about where they come from: bins, sample points, cells. One function a kind."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math

import torch
from torch import Tensor

from roikit.weights import Attention, Axis, Composed, Points, RegionWeights, Selection, Separable, ShiftedBins, Stacked

WHOLE = ("cells", "cells_floor")  # rules that take whole cells; others read the value of cell u at u


@dataclasses.dataclass
class Part:
    """Where a part is read, in the plane in which cell 0 covers [0, 1).

    Args:
        bins: rectangles (x1, y1, x2, y2).
        points: (x, y, share), bilinear samples, share 1 for the part's largest weight.
        cells: (x, y) of whole cells that were chosen.
        mixed: (x1, y1, x2, y2, share) of the cells of a sampled grid.
        strength: factor on the part.
        label: written in the bin.
    """

    bins: list[tuple[float, float, float, float]] = dataclasses.field(default_factory=list)
    points: list[tuple[float, float, float]] = dataclasses.field(default_factory=list)
    cells: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    mixed: list[tuple[float, float, float, float, float]] = dataclasses.field(default_factory=list)
    strength: float = 1.0
    label: str = ""


@dataclasses.dataclass
class Reading:
    """What is drawn of one region.

    Args:
        parts: one for each part.
        grid: (h, w).
        whole: bins are sets of whole cells.
        placed: a part's place in the grid means something.
        key: what the signs mean.
        frame: the turned box that is read, a closed line of (x, y) points.
        borders: further lines.
        sampled: rectangles (x1, y1, x2, y2) of a grid that parts are mixed from.
        seen: cells (x, y) that any part may look at.
    """

    parts: list[Part]
    grid: tuple[int, int]
    whole: bool = False
    placed: bool = True
    key: tuple[str, ...] = ()
    frame: list[tuple[float, float]] | None = None
    borders: list[list[tuple[float, float]]] = dataclasses.field(default_factory=list)
    sampled: list[tuple[float, float, float, float]] = dataclasses.field(default_factory=list)
    seen: list[tuple[float, float]] = dataclasses.field(default_factory=list)


@functools.singledispatch
def read(weights: RegionWeights, height: int, width: int) -> list[Reading]:
    """The readings of the first region on a map of height × width cells: one, or one for each grid of a pyramid.

    A kind of weights that is not known here has none of it: its dense weights are shown all the same.
    """
    parts = weights.dense(height, width).shape[2]
    return [Reading([Part() for _ in range(parts)], (1, parts))]


@read.register
def _(weights: Separable, height: int, width: int) -> list[Reading]:
    rows, cols = _intervals(weights.rows, height), _intervals(weights.cols, width)
    factor = None if weights.amplitude is None else weights.amplitude[0].detach().flatten()
    parts = [
        _part(row, col, 1.0 if factor is None else float(factor[i * len(cols) + j]))
        for i, row in enumerate(rows)
        for j, col in enumerate(cols)
    ]
    return [_of_bins(parts, (len(rows), len(cols)), weights.rows)]


@read.register
def _(weights: ShiftedBins, height: int, width: int) -> list[Reading]:
    h, w = weights.grid if weights.shared else (weights.grid[0] * weights.grid[1],) * 2
    rows, cols = _intervals(weights.rows, height, h), _intervals(weights.cols, width, w)
    bins = itertools.product(rows, cols) if weights.shared else zip(rows, cols, strict=True)
    base = None if weights.channels is None else weights.channels.base
    parts = []
    for k, (row, col) in enumerate(bins):
        part = _part(row, col, 1.0 if weights.amplitude is None else float(weights.amplitude[0, k].detach()))
        if base is not None and bool((base != base.flatten()[0]).any()):
            part.label = f"map {int(base.reshape(-1, base.shape[-1])[0, k])}"
        parts.append(part)
    return [_of_bins(parts, weights.grid, weights.rows)]


@read.register
def _(weights: Points, height: int, width: int) -> list[Reading]:
    parts = []
    for points, share in zip(weights.points[0].detach(), weights.weights[0].detach(), strict=True):
        most = float(share.abs().max()) or 1.0
        there = [(float(x) + 0.5, float(y) + 0.5, float(s) / most) for (y, x), s in zip(points, share, strict=True)]
        parts.append(Part(points=[point for point in there if point[2]]))
    frame = None if weights.rotated is None else _turned(weights.rotated[0])
    return [Reading(parts, weights.grid, key=("dots: bilinear samples",), frame=frame)]


@read.register
def _(weights: Selection, height: int, width: int) -> list[Reading]:
    first = weights.index[0, 0]
    parts = []
    for cell in first.flatten().tolist():
        v, u = divmod(cell, width)
        parts.append(Part(cells=[(u + 0.5, v + 0.5)] if cell >= 0 else []))
    return [Reading(parts, (first.shape[0], first.shape[1]), key=("stars: the cells that win in the first channel",))]


@read.register
def _(weights: Composed, height: int, width: int) -> list[Reading]:
    (inner,) = read(weights.inner, height, width)
    outer = weights.outer[0].detach()
    bins = [cell.bins[0] for cell in inner.parts]
    parts = []
    for shares in outer:
        shares = (shares / shares.abs().max().clamp(min=1e-9)).tolist()
        parts.append(Part(mixed=[(*cell, share) for cell, share in zip(bins, shares, strict=True) if share > 0.02]))
    cells = [cell for cell in bins if cell[2] > cell[0] and cell[3] > cell[1]]  # some are there to fill up
    rows, cols = len({y for _, y, _, _ in cells}), len({x for x, _, _, _ in cells})
    key = (f"a grid of {rows}×{cols} cells is sampled; a part mixes them",)
    placed = outer.shape[0] == outer.shape[1]  # a part for each cell; masks lie anywhere
    return [Reading(parts, weights.grid, placed=placed, key=key, borders=_borders(bins, outer), sampled=cells)]


@read.register
def _(weights: Attention, height: int, width: int) -> list[Reading]:
    dense = weights.dense(height, width)[0, 0].detach()
    support = torch.isfinite(weights.rows[0]).any(0)[:, None] & torch.isfinite(weights.cols[0]).any(0)
    if weights.samples is not None:
        support = support[:height, :width] & weights.samples.mask(height, width)[0]
    seen = [(float(u) + 0.5, float(v) + 0.5) for v, u in support.nonzero()]
    parts = []
    for values in dense:
        v, u = divmod(int(values.argmax()), width)
        parts.append(Part(cells=[(u + 0.5, v + 0.5)]))
    key = ("rings: the cells that are looked at", "stars: the largest weight of a part")
    return [Reading(parts, weights.grid, placed=False, key=key, seen=seen)]


@read.register
def _(weights: Stacked, height: int, width: int) -> list[Reading]:
    return [reading for level in weights.levels for reading in read(level, height, width)]


Interval = tuple[float, float, list[float]]


def _intervals(axis: Axis | Tensor, cells: int, regions: int = 1) -> list[Interval]:
    """(start, end, samples) of every bin of the first ``regions`` regions of an axis."""
    if isinstance(axis, Tensor):  # explicit taps: the cells that count
        found = []
        for tap in axis[:regions].flatten(0, 1):
            at = tap.nonzero().flatten().tolist() or [0]
            found.append((float(at[0]), at[-1] + 1.0, []))
        return found
    if axis.rule in WHOLE:
        window = axis.windowed_taps(cells)[1][:regions].flatten(0, 1)
        return [(float(a), float(b), []) for a, b in window.tolist()]
    found = []
    for lo, size in zip(axis.lo[:regions].tolist(), axis.size[:regions].tolist(), strict=True):
        beta = size / axis.bins
        for i in range(axis.bins):
            start = lo + i * beta + 0.5
            samples = axis.samples if axis.samples > 0 else math.ceil(beta)
            if axis.rule == "hat":
                at = [start + (s + 0.5) * beta / samples for s in range(samples)]
            elif axis.rule == "edge":
                at = [start + s * beta / samples for s in range(samples)]
            elif axis.rule == "adaptive":
                at = [start]
            else:
                at = []
            found.append((start, start + beta, at))
    return found


def _part(row: Interval, col: Interval, strength: float) -> Part:
    part = Part([(col[0], row[0], col[1], row[1])], strength=strength)
    part.points = [(x, y, 1.0) for y in row[2] for x in col[2]]
    return part


def _of_bins(parts: list[Part], grid: tuple[int, int], rows: Axis | Tensor) -> Reading:
    whole = isinstance(rows, Tensor) or rows.rule in WHOLE
    key = []
    if any(x2 > x1 and y2 > y1 for part in parts for x1, y1, x2, y2 in part.bins):
        key.append("frames: the whole cells of each bin" if whole else "frames: bins where they are read")
    if any(part.points for part in parts):
        wide = isinstance(rows, Axis) and rows.rule == "adaptive"
        key.append("dots: points, each between cells that lie a bin apart" if wide else "dots: bilinear samples")
    if any(part.strength != 1 for part in parts):
        key.append("×: the factor on a bin")
    if any(part.label for part in parts):
        key.append("map: the channel that a bin reads")
    return Reading(parts, grid, whole, key=tuple(key))


def _turned(box: Tensor) -> list[tuple[float, float]]:
    """(cx, cy, w, h, θ), counter-clockwise as seen, as a closed line."""
    cx, cy, w, h, angle = box.detach().tolist()
    cos, sin = math.cos(angle), math.sin(angle)
    ring = ((-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1))
    return [(x * w / 2 * cos + y * h / 2 * sin + cx, y * h / 2 * cos - x * w / 2 * sin + cy) for x, y in ring]


def _borders(bins: list[tuple[float, float, float, float]], outer: Tensor) -> list[list[tuple[float, float]]]:
    """The lines between neighbouring cells of a sampled grid that do not go to the same parts."""
    apart = (outer.T[:, None] - outer.T[None]).abs().amax(-1) > 1e-6
    lines = []
    for k, (x1, y1, x2, y2) in enumerate(bins):
        for other, (a1, b1, _, _) in enumerate(bins):
            if not apart[k, other]:
                continue
            if abs(a1 - x2) < 1e-4 and abs(b1 - y1) < 1e-4:
                lines.append([(x2, y1), (x2, y2)])
            if abs(b1 - y2) < 1e-4 and abs(a1 - x1) < 1e-4:
                lines.append([(x1, y2), (x2, y2)])
    return lines
