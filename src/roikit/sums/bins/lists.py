"""Which cells each bin reads on an axis, as lists; bins of a grid share them. Imports Numba."""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from .. import jit
from ..entries import TAPS, listed
from ..rules_cpu import fill

# The lists of M RoIs: cell, weight [M, bins, capacity] and their lengths count [M, bins]; which [M, bins] is the list
# of each bin, origin [bins] the first bin that had a list.
Lists = namedtuple("Lists", "cell weight count which origin")


@jit.helper
def new(rois, bins, capacity, like):
    """Empty lists; ``like`` is an array of the sums' type."""
    return Lists(
        np.empty((rois, bins, capacity), np.int64),
        np.empty((rois, bins, capacity), like.dtype),
        np.empty((rois, bins), np.int64),
        np.empty((rois, bins), np.int64),
        np.empty(bins, np.int64),
    )


@jit.helper
def first_channel(base, r, k):
    """The first channel that bin k of RoI r reads: ``base`` is [R, K], or [1, K] for all RoIs."""
    return base[r if len(base) > 1 else 0, k]


@jit.helper
def entries(side, r, k, cells, index, weight):
    """The cells and weights of bin k of RoI r on one axis; returns their number."""
    if side.rule == TAPS:
        return listed(side, r, k, cells, index, weight)
    lo, size = side.axis[r, k, 0], side.axis[r, k, 1]
    return fill(side.rule, lo, size, size - size, size, side.samples, cells, index, weight)


@jit.helper
def is_shared(side, bins):
    """Whether bins share the rows or columns of a grid, which are fewer than they."""
    return side.rule != TAPS and side.axis.shape[1] < bins


@jit.helper
def read(lists, m, side, r, apart, bins, cells):
    """Make RoI r the lists' entry m. A side that bins share has one list for each of its own, which bins k div
    ``apart`` take in turns; of others, a bin that lies as the one before it, or as the one after that one's first place
    (the next column of a grid), has the same list."""
    n, last = 0, 0
    if is_shared(side, bins):
        n = side.axis.shape[1]
        for i in range(n):
            lists.count[m, i] = entries(side, r, i, cells, lists.cell[m, i], lists.weight[m, i])
        for k in range(bins):
            lists.which[m, k] = k // apart % n
        return
    for k in range(bins):
        known = -1
        if side.rule != TAPS and n > 0:
            for guess in (last, (last + 1) % n):
                first = lists.origin[guess]
                if side.axis[r, first, 0] == side.axis[r, k, 0] and side.axis[r, first, 1] == side.axis[r, k, 1]:
                    known = guess
                    break
        if known < 0:
            known, n = n, n + 1
            lists.origin[known] = k
            lists.count[m, known] = entries(side, r, k, cells, lists.cell[m, known], lists.weight[m, known])
        lists.which[m, k] = known
        last = known


@jit.helper
def copy(lists, k, index, weight):
    """Bin k's list of the first RoI, into arrays that inner loops read fast; returns its length."""
    i = lists.which[0, k]
    for e in range(lists.count[0, i]):
        index[e], weight[e] = lists.cell[0, i, e], lists.weight[0, i, e]
    return lists.count[0, i]
