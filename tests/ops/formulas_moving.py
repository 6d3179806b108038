"""More formulas as slow loops: methods of one point a bin, and methods whose bins move. See ``formulas.py``."""

from __future__ import annotations

import math

from formulas import bilinear, caffe_bins, half_away


def adaptive(x, box, grid):
    """Adaptive RoI Align: on each axis the cells ⌊v⌋ and ⌊v⌋ + δ, by their distance from v = a + iβ."""
    x1, y1, x2, y2 = box

    def taps(lo, length, i, count, cells):
        beta = length / count
        v = lo + i * beta
        if v < 0 or v >= cells:
            return {}
        delta = max(1, half_away(beta))
        low = math.floor(v)
        return {c: 1 - abs(c - v) / delta for c in (low, low + delta) if c < cells}

    out = []
    for i in range(grid[0]):
        rows = taps(y1, y2 - y1 + 1, i, grid[0], len(x))
        out.append([])
        for j in range(grid[1]):
            cols = taps(x1, x2 - x1 + 1, j, grid[1], len(x[0]))
            out[-1].append(sum(a * b * x[p][q] for p, a in rows.items() for q, b in cols.items()))
    return out


def on_map(x, v, u):
    """A bilinear sample clamped to the map, or None where it lies outside [-½, N-½]."""
    inside = -0.5 <= v <= len(x) - 0.5 and -0.5 <= u <= len(x[0]) - 0.5
    return bilinear(x, v, u) if inside else None


def warp(x, box, grid, rounding: bool):
    """RoI Warping: one sample at the start of each bin."""
    x1, y1, x2, y2 = (half_away(c) for c in box) if rounding else box
    h, w = max(y2 - y1, 0), max(x2 - x1, 0)
    return [
        [on_map(x, y1 + i * (h / grid[0]), x1 + j * (w / grid[1])) or 0.0 for j in range(grid[1])]
        for i in range(grid[0])
    ]


def part_deform(x, box, grid, reach: int, penalty: float):
    """DP-FCN's pooling of one channel: the best of the moved bins' means, less the penalty."""
    height, width = len(x), len(x[0])
    far = 1000  # bins before clipping
    rows = caffe_bins(box[1] + far, box[3] + far, grid[0], 10**9)
    cols = caffe_bins(box[0] + far, box[2] + far, grid[1], 10**9)
    out = []
    for row in rows:
        out.append([])
        for col in cols:
            best = -math.inf
            for dy in range(-reach, reach + 1):
                for dx in range(-reach, reach + 1):
                    ys = [v - far + dy for v in row if 0 <= v - far + dy < height]
                    xs = [u - far + dx for u in col if 0 <= u - far + dx < width]
                    values = [x[v][u] for v in ys for u in xs]
                    mean = sum(values) / len(values) if values else 0.0
                    best = max(best, mean - penalty * (dy * dy + dx * dx))
            out[-1].append(best)
    return out


def deform_ps(x, box, scale, offset, size, group, part, samples, trans_std):
    """Deformable PS-RoI pooling of maps ``x[c][v][u]``; a box in pixels; ``offset[2·classes][P][P]``, x first."""
    start_x, start_y = (half_away(c) * scale - 0.5 for c in box[:2])
    width, height = (
        max((half_away(end) + 1) * scale - 0.5 - start, 0.1)
        for end, start in zip(box[2:], (start_x, start_y), strict=True)
    )
    out_channels, classes = len(x) // group**2, len(offset) // 2
    out = []
    for c in range(out_channels):
        owner = c // (out_channels // classes)
        out.append([])
        for i in range(size[0]):
            out[-1].append([])
            for j in range(size[1]):
                p, q = i * part // size[0], j * part // size[1]
                y = start_y + i * height / size[0] + trans_std * offset[2 * owner + 1][p][q] * height
                z = start_x + j * width / size[1] + trans_std * offset[2 * owner][p][q] * width
                channel = (c * group + i * group // size[0]) * group + j * group // size[1]
                values = [
                    on_map(x[channel], y + a * height / size[0] / samples, z + b * width / size[1] / samples)
                    for a in range(samples)
                    for b in range(samples)
                ]
                values = [v for v in values if v is not None]
                out[-1][-1].append(sum(values) / len(values) if values else 0.0)
    return out
