"""The CPU kernels (Numba); how they are run: see ``separable/cpu_last.py``.

A bin is a list of samples, each a low cell and four weights: made from a point and its weight, or from given taps.
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from .. import jit
from ..loops import PAD, add, add4, dot, put4
from ..turned import flush, turning_room, upright

BLOCK = 64  # channels of a backward task

# What is pooled: points [R, K, P, 2] and weights [R, K, P], or, where ``explicit``, taps rows and cols [R, K, P, 2] and
# their low cells, int32 of the same shape. What does not apply is empty.
Told = namedtuple("Told", "explicit points weights rows cols low")


@jit.helper
def _along(at, cells):
    """One axis: the low cell of a coordinate moved onto the map, and how far beyond that cell the sample lies."""
    if at != at:
        return 0, at
    at = min(max(at, at - at), type(at)(cells - 1))
    low = int(at)
    return low, at - low if low < cells - 1 else at - at


@jit.helper
def _sample(cell, weight, n, v, u, row, row2, col, col2, height, width):
    """Sample n of a bin: the cells (v, u), (v, u + 1), (v + 1, u), (v + 1, u + 1), as far as the map has them."""
    below, right = v + 1 < height, u + 1 < width
    cell[n] = v * width + u
    weight[n, 0] = row * col
    weight[n, 1] = row * col2 if right else 0.0
    weight[n, 2] = row2 * col if below else 0.0
    weight[n, 3] = row2 * col2 if below and right else 0.0


@jit.helper
def _samples(told, r, k, height, width, cell, weight):
    """Fill cell [P] (flat) and weight [P, 4] with the samples of bin k of RoI r; returns their number."""
    n = 0
    rows, cols, points = told.rows, told.cols, told.points
    if told.explicit:
        for p in range(told.low.shape[2]):
            v, u = np.int64(told.low[r, k, p, 0]), np.int64(told.low[r, k, p, 1])
            if v < 0 or u < 0 or v >= height or u >= width:
                continue
            row, row2, col, col2 = rows[r, k, p, 0], rows[r, k, p, 1], cols[r, k, p, 0], cols[r, k, p, 1]
            _sample(cell, weight, n, v, u, row, row2, col, col2, height, width)
            n += 1
        return n
    one = points.dtype.type(1)
    for p in range(points.shape[2]):
        y, x, w = points[r, k, p, 0], points[r, k, p, 1], told.weights[r, k, p]
        if y < -1 or y > height or x < -1 or x > width:
            continue
        v, down = _along(y, height)
        u, across = _along(x, width)
        _sample(cell, weight, n, v, u, w * (one - down), w * down, one - across, across, height, width)
        n += 1
    return n


@jit.kernel
def pool(start, stop, order, x, batch, told, sums, last, streaming, out):
    """x [B, H, W, C] into out, [R, K, C] where ``last``, else [R, C, K], for the RoIs order[start:stop]. ``sums`` is
    empty, of the type of the sums; ``streaming``: see ``flush``."""
    _, height, width, channels = x.shape
    bins = out.shape[1] if last else out.shape[2]
    source, target = x.reshape(-1), out.reshape(-1)
    room = told.low.shape[2] if told.explicit else told.points.shape[2]
    cell, weight = np.empty(room, np.int64), np.empty((room, 4), sums.dtype)
    pitch = channels if last else channels + PAD
    turned, tile = turning_room(bins, pitch, sums)
    lines_by_channel = np.empty(0 if last else bins * channels, sums.dtype)
    n = np.uintp(channels)
    for at in range(start, stop):
        r = order[at]
        image = batch[r] * height * width
        for k in range(bins):
            count = _samples(told, r, k, height, width, cell, weight)
            t = np.uintp(k * pitch)
            empty = True
            for e in range(count):
                w, w2, w3, w4 = weight[e, 0], weight[e, 1], weight[e, 2], weight[e, 3]
                s = np.uintp((image + cell[e]) * channels)
                s3 = s + np.uintp(width * channels)
                if w != 0 and w2 != 0 and w3 != 0 and w4 != 0:  # the sample lies between four cells: the common case
                    if empty:
                        put4(turned, t, source, s, w, s + n, w2, s3, w3, s3 + n, w4, n)
                    else:
                        add4(turned, t, source, s, w, s + n, w2, s3, w3, s3 + n, w4, n)
                    empty = False
                    continue
                if empty:
                    for c in range(n):
                        turned[t + c] = 0
                    empty = False
                # A cell of weight 0 is not read: it may lie beyond the map, or be infinite.
                if w != 0:
                    add(turned, t, source, s, w, n)
                if w2 != 0:
                    add(turned, t, source, s + n, w2, n)
                if w3 != 0:
                    add(turned, t, source, s3, w3, n)
                if w4 != 0:
                    add(turned, t, source, s3 + n, w4, n)
            if empty:
                for c in range(n):
                    turned[t + c] = 0
        if last:
            flush(target, r * bins * channels, turned, bins * channels, streaming)
        else:
            upright(lines_by_channel, 0, bins, turned, pitch, channels, tile)
            flush(target, r * channels * bins, lines_by_channel, channels * bins, streaming)


@jit.kernel
def spread(start, stop, grad, batch, level, this, told, block, out):
    """grad [R, K, C] into out [B, H, W, C], for (image, block of channels) pairs: no atomics."""
    _, height, width, channels = out.shape
    _, bins, _ = grad.shape
    source, target = grad.reshape(-1), out.reshape(-1)
    room = told.low.shape[2] if told.explicit else told.points.shape[2]
    cell, weight = np.empty(room, np.int64), np.empty((room, 4), grad.dtype)
    blocks = (channels + block - 1) // block
    pixels = height * width
    for pair in range(start, stop):
        b, c0 = pair // blocks, (pair % blocks) * block
        n = np.uintp(min(block, channels - c0))
        for p in range(b * pixels, (b + 1) * pixels):
            to = np.uintp(p * channels + c0)
            for c in range(n):
                target[to + c] = 0
        for r in range(batch.shape[0]):
            if level[r] != this or batch[r] != b:
                continue
            for k in range(bins):
                count = _samples(told, r, k, height, width, cell, weight)
                g = np.uintp((r * bins + k) * channels + c0)
                for e in range(count):
                    to = np.uintp((b * pixels + cell[e]) * channels + c0)
                    below = to + np.uintp(width * channels)
                    if weight[e, 0] != 0:
                        add(target, to, source, g, weight[e, 0], n)
                    if weight[e, 1] != 0:
                        add(target, to + np.uintp(channels), source, g, weight[e, 1], n)
                    if weight[e, 2] != 0:
                        add(target, below, source, g, weight[e, 2], n)
                    if weight[e, 3] != 0:
                        add(target, below + np.uintp(channels), source, g, weight[e, 3], n)


@jit.kernel
def grad_taps(start, stop, x, grad, batch, level, this, axis, other, low, out):
    """∂/∂ row taps (axis 0) or column taps (axis 1) for RoIs start … stop: out [R, K, P, 2].

    ``x`` is [B, H, W, C], ``grad`` [R, K, C], ``other`` the other axis' taps.
    """
    _, height, width, channels = x.shape
    _, bins, _ = grad.shape
    source, upstream = x.reshape(-1), grad.reshape(-1)
    n = np.uintp(channels)
    for r in range(start, stop):
        if level[r] != this:
            continue
        for k in range(bins):
            g = np.uintp((r * bins + k) * channels)
            for p in range(low.shape[2]):
                for main in range(2):
                    total = grad.dtype.type(0)
                    for side in range(2):
                        v = low[r, k, p, 0] + (main if axis == 0 else side)
                        u = low[r, k, p, 1] + (side if axis == 0 else main)
                        w = other[r, k, p, side]
                        if w != 0 and v >= 0 and u >= 0 and v < height and u < width:
                            at = np.uintp(((batch[r] * height + v) * width + u) * channels)
                            total += w * dot(source, at, upstream, g, n)
                    out[r, k, p, main] = total
