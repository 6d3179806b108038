"""The CPU kernel (Numba) of pooling bins of NCHW maps plane by plane: for maps of which each bin reads few channels, as
position-sensitive pooling does. A plane stays near the core while all RoIs read it."""

from __future__ import annotations

import numpy as np

from .. import jit
from ..vector import narrow, widen
from .cpu import entries_of

ROIS = 128  # whose cells are listed at a time
ROOM = 1 << 16  # entries of these lists at most


@jit.inner
def _sum(source, plane, cell, weight, first, count):
    total = weight[first] * widen(source[np.uintp(plane + cell[first])])
    for e in range(first + 1, first + count):
        total += weight[e] * widen(source[np.uintp(plane + cell[e])])
    return total


@jit.kernel
def pool(
    start, stop, order, x, batch, rule_y, rule_x, samples_y, samples_x, rows, cols,
    row_taps, row_window, col_taps, col_window, capacity, sums, base, step, out,
):  # fmt: skip
    """x [B, C, H, W] into bins start … stop of out [R, run, K], for the RoIs ``order``: bin k reads channels
    base + c · step. ``sums`` is empty, of the type of the sums."""
    _, channels, height, width = x.shape
    _, run, bins = out.shape
    source, target = x.reshape(-1), out.reshape(-1)
    row_index, col_index = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
    row_weight, col_weight = np.empty(capacity, sums.dtype), np.empty(capacity, sums.dtype)
    room = capacity * capacity
    most = max(1, min(ROIS, ROOM // room))
    cell, weight, count = np.empty((most, room), np.int64), np.empty((most, room), sums.dtype), np.empty(most, np.int64)
    cells, weights = cell.reshape(-1), weight.reshape(-1)
    for m0 in range(0, len(order), most):
        many = min(most, len(order) - m0)
        for k in range(start, stop):
            for m in range(many):
                count[m] = entries_of(
                    rule_y, rule_x, samples_y, samples_x, rows, cols, row_taps, row_window, col_taps, col_window,
                    order[m0 + m], k, height, width,
                    row_index, row_weight, col_index, col_weight, cell[m], weight[m],
                )  # fmt: skip
            for c in range(run):
                for m in range(many):
                    r = order[m0 + m]
                    plane = (batch[r] * channels + base[r, k] + c * step) * height * width
                    total = sums.dtype.type(0)
                    if count[m]:
                        total = _sum(source, plane, cells, weights, m * room, count[m])
                    target[np.uintp((r * run + c) * bins + k)] = narrow(total, target)
