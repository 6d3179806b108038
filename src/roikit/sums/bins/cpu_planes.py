"""The CPU kernel (Numba) of pooling bins of NCHW maps as they are, plane by plane: for so few RoIs that turning the
maps would take longer."""

from __future__ import annotations

import numpy as np

from .. import jit
from ..vector import fused, narrow, widen
from . import lists

ROIS = 128  # whose cells are listed at a time
ROOM = 1 << 16  # entries of these lists at most


@jit.inner
def _sum(source, plane, width, row, row_weight, e0, rows, col, col_weight, f0, cols):
    """Σ weight · cell, in the order of ``cpu.pool``."""
    total = row_weight.dtype.type(0)
    for e in range(e0, e0 + rows):
        at = plane + row[e] * width
        for f in range(f0, f0 + cols):
            weight, value = row_weight[e] * col_weight[f], widen(source[np.uintp(at + col[f])])
            total = weight * value if e == e0 and f == f0 else fused(weight, value, total)
    return total


@jit.kernel
def pool(
    start, stop, order, x, batch, rows, cols, capacity, sums, base, step, out,
):  # fmt: skip
    """x [B, C, H, W] into bins start … stop of out [R, run, K], for the RoIs ``order``: bin k reads channels
    base + c · step. ``sums`` is empty, of the type of the sums."""
    _, channels, height, width = x.shape
    _, run, bins = out.shape
    source, target = x.reshape(-1), out.reshape(-1)
    most = max(1, min(ROIS, ROOM // (bins * capacity)))
    down, across = lists.new(most, bins, capacity, sums), lists.new(most, bins, capacity, sums)
    row, row_weight = down.cell.reshape(-1), down.weight.reshape(-1)
    col, col_weight = across.cell.reshape(-1), across.weight.reshape(-1)
    for m0 in range(0, len(order), most):
        many = min(most, len(order) - m0)
        for m in range(many):
            lists.read(down, m, rows, order[m0 + m], cols.axis.shape[1], bins, height)
            lists.read(across, m, cols, order[m0 + m], 1, bins, width)
        for k in range(start, stop):
            for c in range(run):
                for m in range(many):
                    r, i, j = order[m0 + m], down.which[m, k], across.which[m, k]
                    nv, nu = down.count[m, i], across.count[m, j]
                    total = sums.dtype.type(0)
                    if nv * nu > 0:
                        plane = (batch[r] * channels + lists.first_channel(base, r, k) + c * step) * height * width
                        e0, f0 = (m * bins + i) * capacity, (m * bins + j) * capacity
                        total = _sum(source, plane, width, row, row_weight, e0, nv, col, col_weight, f0, nu)
                    target[np.uintp((r * run + c) * bins + k)] = narrow(total, target)
