"""The papers' formulas as slow loops over Python numbers: oracles that share nothing with the library.

Each takes one channel ``x[v][u]``, a box in feature cells and a grid (K_h, K_w), and returns a nested list.
"""

from __future__ import annotations

import itertools
import math


def hat(t: float) -> float:
    """The bilinear kernel g(t) = max(0, 1 - |t|)."""
    return max(0.0, 1.0 - abs(t))


def bilinear(x, v: float, u: float) -> float:
    """Σ g(v - p) g(u - q) x(p, q) over the four neighbours; a point beyond the border is moved onto it."""
    height, width = len(x), len(x[0])
    v, u = min(max(v, 0.0), height - 1.0), min(max(u, 0.0), width - 1.0)
    p0, q0 = min(int(v), height - 1), min(int(u), width - 1)
    return sum(
        hat(v - p) * hat(u - q) * x[p][q]
        for p in (p0, min(p0 + 1, height - 1))[: 2 if p0 + 1 < height else 1]
        for q in (q0, min(q0 + 1, width - 1))[: 2 if q0 + 1 < width else 1]
    )


def on_map(x, v: float, u: float) -> float:
    """A bilinear sample, or 0 outside [-1, N]."""
    inside = -1 <= v <= len(x) and -1 <= u <= len(x[0])
    return bilinear(x, v, u) if inside else 0.0


def roi_align(x, box, grid, sampling_ratio: int, aligned: bool):
    """Mask R-CNN's RoI Align: the mean of S_y × S_x samples; one outside [-1, N] counts as 0."""
    height, width = len(x), len(x[0])
    shift = 0.5 if aligned else 0.0
    x1, y1, x2, y2 = (c - shift for c in box)
    w, h = x2 - x1, y2 - y1
    if not aligned:
        w, h = max(w, 1.0), max(h, 1.0)
    bin_h, bin_w = h / grid[0], w / grid[1]
    s_y = sampling_ratio if sampling_ratio > 0 else math.ceil(bin_h)
    s_x = sampling_ratio if sampling_ratio > 0 else math.ceil(bin_w)
    out = [[0.0] * grid[1] for _ in range(grid[0])]
    if s_y <= 0 or s_x <= 0:
        return out
    for i in range(grid[0]):
        for j in range(grid[1]):
            for a in range(s_y):
                for b in range(s_x):
                    v = y1 + i * bin_h + (a + 0.5) * bin_h / s_y
                    u = x1 + j * bin_w + (b + 0.5) * bin_w / s_x
                    if -1 <= v <= height and -1 <= u <= width:
                        out[i][j] += bilinear(x, v, u) / (s_y * s_x)
    return out


def half_away(t: float) -> int:
    """C's round."""
    return int(math.copysign(math.floor(abs(t) + 0.5), t))


def caffe_bins(lo: float, hi: float, count: int, cells: int) -> list[range]:
    """Fast R-CNN's bins: rounded ends, the last cell included, overlapping."""
    start, end = half_away(lo), half_away(hi)
    size = max(end - start + 1, 1) / count
    edges = [(math.floor(i * size) + start, math.ceil((i + 1) * size) + start) for i in range(count)]
    return [range(min(max(a, 0), cells), min(max(b, 0), cells)) for a, b in edges]


def floor_bins(lo: float, hi: float, count: int, cells: int) -> list[range]:
    """The explainer articles' half-open bins of the unrounded box, of at least one cell."""
    size = (hi - lo) / count
    bins = []
    for i in range(count):
        a = math.floor(lo + i * size)
        b = max(math.floor(lo + (i + 1) * size), a + 1)
        bins.append(range(min(max(a, 0), cells), min(max(b, 0), cells)))
    return bins


def roi_pool(x, box, grid, mode: str, rounding: str):
    """The maximum, or the mean, of the cells of each bin; 0 for an empty one."""
    bins = {"caffe": caffe_bins, "floor": floor_bins}[rounding]
    rows, cols = bins(box[1], box[3], grid[0], len(x)), bins(box[0], box[2], grid[1], len(x[0]))
    out = []
    for row in rows:
        out.append([])
        for col in cols:
            values = [x[v][u] for v in row for u in col]
            reduced = max(values) if mode == "max" and values else sum(values) / max(len(values), 1)
            out[-1].append(reduced if values else 0.0)
    return out


def interpolant(x, v: float, u: float) -> float:
    """Σ g(v - p) g(u - q) x(p, q): the bilinear surface, falling to zero beyond the map."""
    return sum(hat(v - p) * hat(u - q) * x[p][q] for p in range(len(x)) for q in range(len(x[0])))


def simpson_mean(f, start: float, size: float) -> float:
    """The mean of f over [start, start + size], exact for pieces of degree ≤ 3 that end at whole numbers.

    Pieces are measured from ``start``, so that short ones keep their precision.
    """
    inner = (n - start for n in range(math.floor(start) + 1, math.ceil(start + size)))
    edges = [0.0, *(t for t in inner if 0 < t < size), size]
    pieces = itertools.pairwise(edges)
    return sum((q - p) / (6 * size) * (f(start + p) + 4 * f(start + (p + q) / 2) + f(start + q)) for p, q in pieces)


def prroi_pool(x, box, grid):
    """Precise RoI Pooling: the integral of the bilinear surface over each bin by its area, by quadrature."""
    x1, y1, x2, y2 = box
    bin_h, bin_w = (y2 - y1) / grid[0], (x2 - x1) / grid[1]
    out = [[0.0] * grid[1] for _ in range(grid[0])]
    if bin_h <= 0 or bin_w <= 0:
        return out
    for i in range(grid[0]):
        for j in range(grid[1]):
            y, z = y1 + i * bin_h, x1 + j * bin_w

            def along(v, z=z):
                return simpson_mean(lambda u: interpolant(x, v, u), z, bin_w)

            out[i][j] = simpson_mean(along, y, bin_h)
    return out
