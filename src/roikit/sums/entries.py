"""Which cells a bin reads on an axis, as lists of (cell, weight); shared by the CPU kernels. Imports Numba.

The entries of a bin are made by its rule or read from given taps. The columns that any bin of a RoI touches are
numbered 0, 1, … ("slots"): a row of bins is first summed over map rows into one line per slot, and the bins are then
sums of these lines.
"""

from __future__ import annotations

import functools
from collections import namedtuple
from collections.abc import Sequence

import numpy as np

from . import jit
from .axes import Axes
from .rules_cpu import capacity, fill

TAPS = -1  # in place of a rule's number: the entries come from explicit taps

# One axis of all RoIs: a rule with its samples, and axis [R, 2] or [R, K, 2] of (lo, size); or taps [R, bins, N] with
# their window [R, bins, 2]. What does not apply is empty.
Side = namedtuple("Side", "rule samples axis taps window")


def sides(axes: Axes, size: Sequence[int], dims: int) -> tuple[Side, Side, int]:
    """Rows and columns as the kernels take them, for a map of (H, W) = ``size`` cells, and the most entries of a bin.

    Args:
        dims: of ``Side.axis``: 2 where bins share it, 3 where each has its own.
    """
    given = [np.ascontiguousarray(t.detach().numpy()) for t in (axes.rows, axes.cols)]
    if axes.windows is None:
        none, most = _none(given[0].dtype), max(size)
        (rule_y, rule_x), (samples_y, samples_x) = axes.rules, axes.samples
        room = max(capacity(rule_y, samples_y, most), capacity(rule_x, samples_x, most))
        return Side(rule_y, samples_y, given[0], *none), Side(rule_x, samples_x, given[1], *none), room
    no_axis = np.empty((0, 2) if dims == 2 else (0, 0, 2), given[0].dtype)
    windows = [np.ascontiguousarray(t.numpy()) for t in axes.windows]
    rows, cols = (Side(TAPS, 0, no_axis, *each) for each in zip(given, windows, strict=True))
    return rows, cols, max(size) + 2


@functools.cache
def _none(kind: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """No taps, and no window."""
    return np.empty((0, 0, 0), kind), np.empty((0, 0, 0), np.int32)


@jit.helper
def listed(side, r, i, cells, index, weight):
    """The entries of bin i of RoI r from explicit taps; returns their number."""
    n = 0
    for v in range(side.window[r, i, 0], min(side.window[r, i, 1], cells)):
        w = side.taps[r, i, v]
        if w != 0:
            index[n], weight[n] = v, w
            n += 1
    return n


@jit.helper
def entries(side, r, bins, cells, index, weight, count):
    """Fill index, weight [bins, capacity] and count [bins] for one RoI on one axis that its bins share."""
    if side.rule == TAPS:
        for i in range(bins):
            count[i] = listed(side, r, i, cells, index[i], weight[i])
        return
    kind = side.axis.dtype.type
    lo, beta = side.axis[r, 0], side.axis[r, 1] / kind(bins)
    for i in range(bins):
        near, far = kind(i) * beta, kind(i + 1) * beta
        count[i] = fill(side.rule, lo, beta, near, far, side.samples, cells, index[i], weight[i])


@jit.helper
def slots_of(bins, index, count, slot, touched):
    """Number the touched cells in growing order: touched[slot] = cell, and entries' cells become slots in ``slot``."""
    low, high = np.int64(1 << 60), np.int64(-1)
    for j in range(bins):
        for e in range(count[j]):
            low, high = min(low, index[j, e]), max(high, index[j, e])
    if high < 0:
        return 0
    for u in range(low, high + 1):
        touched[u] = -1
    for j in range(bins):
        for e in range(count[j]):
            touched[index[j, e]] = 0
    n = 0
    for u in range(low, high + 1):
        if touched[u] == 0:
            touched[u] = n
            n += 1
    for j in range(bins):
        for e in range(count[j]):
            slot[j, e] = touched[index[j, e]]
    # touched held cell -> slot; turn it into slot -> cell (a slot is never beyond its cell)
    for u in range(low, high + 1):
        if touched[u] >= 0:
            touched[touched[u]] = u
    return n
