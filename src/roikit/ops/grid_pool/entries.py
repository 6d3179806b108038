"""Which cells a RoI's bins read on each axis, as lists; shared by the CPU kernels. Imports Numba.

A RoI's rows and columns are lists of (cell, weight) entries, made by its rule or read from given taps. The columns that
any bin touches are numbered 0, 1, … ("slots"): a row of bins is first summed over map rows into one line per slot, and
the bins are then sums of these lines.
"""

from __future__ import annotations

import numpy as np

from .. import jit
from ..rules.kernels import fill

TAPS = -1  # in place of a rule's number: the entries come from explicit taps


@jit.helper
def from_taps(r, bins, cells, taps, window, index, weight, count):
    for i in range(bins):
        n = 0
        for v in range(window[r, i, 0], min(window[r, i, 1], cells)):
            w = taps[r, i, v]
            if w != 0:
                index[i, n], weight[i, n] = v, w
                n += 1
        count[i] = n


@jit.helper
def entries(rule, axis, r, bins, samples, cells, taps, window, index, weight, count):
    """Fill index, weight [bins, capacity] and count [bins] for one RoI on one axis."""
    if rule == TAPS:
        from_taps(r, bins, cells, taps, window, index, weight, count)
        return
    kind = axis.dtype.type
    lo, beta = axis[r, 0], axis[r, 1] / kind(bins)
    for i in range(bins):
        near, far = kind(i) * beta, kind(i + 1) * beta
        count[i] = fill(rule, lo, beta, near, far, samples, cells, index[i], weight[i])


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
