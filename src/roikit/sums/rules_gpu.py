"""The rules as Triton kernels evaluate them. Imports Triton: only ``gpu.py`` modules import this.

Where Numba's ``fill`` lists a bin's cells one after another, these say what any block of cells weighs:

``window(RULE, …)``
    the half-open range [first, stop) of cells of the map that can weigh something in a bin;
``begin(RULE, …)``
    where the bin starts, and what all of its weights share (a divisor): NaN for a box that is not a number, whose
    window is the first cell, so that its NaN is seen and nothing loops for long;
``weigh(RULE, …, cell)``
    the weights of a block of cells of that window.

Arithmetic is in the boxes' dtype and in the order of the torch forms, so that all round alike. In place of a rule's
number, ``TAPS`` reads explicit taps.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ..rules import NUMBERS
from ..rules.integral import LEAST as _least
from .gpu import is_finite, quotient

HAT = tl.constexpr(NUMBERS["hat"])
INTEGRAL = tl.constexpr(NUMBERS["integral"])
CELLS = tl.constexpr(NUMBERS["cells"])
CELLS_FLOOR = tl.constexpr(NUMBERS["cells_floor"])
EDGE = tl.constexpr(NUMBERS["edge"])
ADAPTIVE = tl.constexpr(NUMBERS["adaptive"])
INSIDE = tl.constexpr(NUMBERS["inside"])
TAPS = tl.constexpr(-1)
LEAST = tl.constexpr(_least)
BLOCK = tl.constexpr(16)  # cells at a time where the weights of a whole bin are summed


@triton.jit
def bin_of(axis, r, i, BINS: tl.constexpr):
    """(lo, β, iβ, (i+1)β) of bin i of RoI r; ``axis`` [R, 2] holds (lo, size)."""
    lo, size = tl.load(axis + 2 * r), tl.load(axis + 2 * r + 1)
    beta = quotient(size, tl.full([], BINS, lo.dtype))
    step = tl.zeros([], lo.dtype) + i
    return lo, beta, step * beta, (step + 1) * beta


@triton.jit
def _clip(value, least, most):
    """A whole float between two numbers as int32; a NaN gives ``least``."""
    value = tl.where(value > least, value, least)
    return tl.where(value < most, value, most).to(tl.int32)


@triton.jit
def window(RULE: tl.constexpr, SAMPLES: tl.constexpr, lo, beta, near, far, cells):
    """[first, stop) of one bin, on a map of ``cells`` cells on this axis."""
    n = cells.to(lo.dtype)
    start = lo + near
    if RULE == HAT or RULE == EDGE:
        if RULE == HAT:
            count = _samples(SAMPLES, beta)
            end = start + (count - 0.5) * quotient(beta, tl.maximum(count, 1.0))
        else:
            count = tl.full([], SAMPLES, lo.dtype)
            end = start + (SAMPLES - 1) * quotient(beta, count)
        # Samples just outside count at the border cells.
        first = _clip(tl.floor(tl.minimum(start, end)), 0.0, n - 1)
        stop = tl.maximum(_clip(tl.floor(tl.maximum(start, end)) + 2, 0.0, n), first + 1)
        stop = tl.where(count > 0, stop, first)
    elif RULE == CELLS:
        first, stop = _clip(tl.floor(near) + lo, 0.0, n), _clip(tl.ceil(far) + lo, 0.0, n)
    elif RULE == CELLS_FLOOR:
        begin_ = tl.floor(start)
        first = _clip(begin_, 0.0, n)
        stop = _clip(tl.maximum(tl.floor(lo + far), begin_ + 1), 0.0, n)
    elif RULE == ADAPTIVE:
        first = _clip(tl.floor(start), 0.0, n)
        stop = _clip(tl.floor(start) + tl.maximum(tl.floor(beta + 0.5), 1.0) + 1, 0.0, n)
        stop = tl.where((start < 0) | (start >= n), first, stop)
    else:
        first = _clip(tl.floor(start), 0.0, n)
        stop = _clip(tl.ceil(start + beta) + 1, 0.0, n)
        stop = tl.where(beta > LEAST, stop, first)
    bad = (is_finite(lo) & is_finite(beta)) == 0
    return tl.where(bad, 0, first), tl.where(bad, 1, stop)


@triton.jit
def begin(RULE: tl.constexpr, SAMPLES: tl.constexpr, lo, beta, near, first, stop, cells):
    """(start, share) of one bin with its window: what ``weigh`` needs besides β."""
    start = lo + near
    share = tl.full([], 1.0, lo.dtype)
    if RULE == HAT:
        share = quotient(share, tl.maximum(_samples(SAMPLES, beta), 1.0))
    elif RULE == CELLS or RULE == CELLS_FLOOR:
        share = quotient(share, tl.maximum(stop - first, 1).to(lo.dtype))
    elif RULE == EDGE:
        inside = tl.zeros([], lo.dtype)
        step = quotient(beta, tl.full([], SAMPLES, lo.dtype))
        for s in range(0, SAMPLES):
            v = start + s * step
            inside += ((v >= -0.5) & (v <= (cells - 1).to(lo.dtype) + 0.5)).to(lo.dtype)
        share = quotient(share, tl.maximum(inside, 1.0))
    elif RULE == INSIDE:
        share = tl.zeros([], lo.dtype)
        for u in range(first, stop, BLOCK):
            cell = u + tl.arange(0, BLOCK)
            share += tl.sum(tl.where(cell < stop, _mass(start, beta, cell), 0.0), 0)
    bad = (is_finite(lo) & is_finite(beta)) == 0
    return tl.where(bad, 0.0, start), tl.where(bad, float("nan"), share)


@triton.jit
def weigh(RULE: tl.constexpr, SAMPLES: tl.constexpr, start, beta, share, first, stop, cells, cell, low, high):
    """The weights of the cells ``cell``, a block or one, of which those before ``low`` or after ``high`` do not matter.

    Cells outside the window weigh 0.
    """
    integer = tl.zeros([], tl.int32)  # in Triton's interpreter a loop counts in Python's numbers
    cell, low, high = cell + integer, low + integer, high + integer
    zero = (cell * 0).to(start.dtype)
    known = share == share
    if RULE == HAT:
        found = _hat(SAMPLES, start, beta, share, cells, cell, low, high, zero, known)
    elif RULE == EDGE:
        found = _edge(SAMPLES, start, beta, share, cells, cell, zero)
    elif RULE == CELLS or RULE == CELLS_FLOOR:
        found = zero + share
    elif RULE == ADAPTIVE:
        reach = tl.maximum(tl.floor(beta + 0.5), 1.0)
        near = tl.floor(start)
        part = quotient(start - near, reach)
        found = tl.where(cell == near, 1 - part, tl.where(cell == near + reach, part, zero))
    elif RULE == INTEGRAL:
        found = _narrow(start - cell, beta)
    else:
        found = tl.where(share > LEAST, quotient(_mass(start, beta, cell), tl.maximum(share, LEAST) + zero), zero)
    return tl.where((cell >= first) & (cell < stop), tl.where(known, found, share), zero)


@triton.jit
def _samples(SAMPLES: tl.constexpr, beta):
    """The number of samples in a bin, a whole float; adaptive where it is not given."""
    if SAMPLES > 0:
        return tl.full([], SAMPLES, beta.dtype)
    else:
        return tl.maximum(tl.ceil(beta), 0.0)


@triton.jit
def _between(v, cell, zero):
    """What ``cell`` weighs in the bilinear sample at v."""
    near = tl.floor(v)
    part = v - near
    return tl.where(cell == near, 1 - part, tl.where(cell == near + 1, part, zero))


@triton.jit
def _hat(SAMPLES: tl.constexpr, start, beta, share, cells, cell, low, high, zero, known):
    found = zero
    count = _samples(SAMPLES, beta)
    n = cells.to(start.dtype)
    if SAMPLES > 0:
        skip, times = tl.zeros([], start.dtype), SAMPLES
    else:
        # Only the samples within a cell of these matter, and a huge RoI has very many. They lie at least half a cell
        # apart.
        step = tl.maximum(quotient(beta, tl.maximum(count, 1.0)), 1e-6)
        skip = tl.floor(quotient((low - 1).to(start.dtype) - start, step) - 0.5) - 1
        skip = tl.minimum(tl.maximum(skip, 0.0), count)
        last = tl.minimum(tl.ceil(quotient((high + 1).to(start.dtype) - start, step) + 0.5) + 1, count)
        times = _clip(tl.where(known, last - skip, 0.0), 0.0, (2 * (high - low) + 12).to(start.dtype))
    for s in range(0, times):
        order = skip + s
        v = start + quotient((order + 0.5) * beta, tl.maximum(count, 1.0))
        counts = ((order < count) & (v >= -1)) & (v <= n)
        v = tl.minimum(tl.maximum(v, 0.0), n - 1)
        found += tl.where(counts, share * _between(v, cell, zero), zero)
    return found


@triton.jit
def _edge(SAMPLES: tl.constexpr, start, beta, share, cells, cell, zero):
    found = zero
    last = (cells - 1).to(start.dtype)
    step = quotient(beta, tl.full([], SAMPLES, beta.dtype))
    for s in range(0, SAMPLES):
        v = start + s * step
        counts = (v >= -0.5) & (v <= last + 0.5)
        v = tl.minimum(tl.maximum(v, 0.0), last)
        found += tl.where(counts, share * _between(v, cell, zero), zero)
    return found


@triton.jit
def _unit(x):
    return tl.minimum(tl.maximum(x, 0.0), 1.0)


@triton.jit
def _narrow(p, beta):
    """``integral``'s tap: the mean of the hat over a bin that starts at p from the cell."""
    length = tl.where(beta > LEAST, beta, 1.0)
    s0, s1, s2 = _unit(quotient(-1 - p, length)), _unit(quotient(-p, length)), _unit(quotient(1 - p, length))
    return (s1 - s0) * (1 + p + length * (s0 + s1) / 2) + (s2 - s1) * (1 - p - length * (s1 + s2) / 2)


@triton.jit
def _mass(start, beta, cell):
    """``inside``'s weight before it is divided by their sum; see there for the two forms."""
    p = tl.minimum(tl.maximum(start - cell, -3.0), 3.0)
    q = tl.minimum(tl.maximum(start + beta - cell, -3.0), 3.0)
    t0, t1, t2 = (
        tl.maximum(tl.minimum(q, -1.0), p),
        tl.maximum(tl.minimum(q, 0.0), p),
        tl.maximum(tl.minimum(q, 1.0), p),
    )
    wide = (t1 - t0) * (1 + (t0 + t1) / 2) + (t2 - t1) * (1 - (t1 + t2) / 2)
    return tl.where(beta < 1, _narrow(p, beta), wide)
