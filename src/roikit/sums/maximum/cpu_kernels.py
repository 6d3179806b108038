"""The CPU kernels (Numba) of max pooling: see ``separable/cpu_last.py`` for how they are run."""

from __future__ import annotations

import numpy as np

from .. import jit
from ..loops import PAD
from ..turned import flush, turning_room, upright
from ..vector import contest, lanes, narrow, widen


@jit.inner
def _better(best, which, t, source, s, cell, n):
    for c in range(n):
        value = widen(source[s + c])
        wins = value > best[t + c]
        best[t + c] = value if wins else best[t + c]
        which[t + c] = cell if wins else which[t + c]


@jit.inner
def _better4(best, which, t, source, s, cell, n):
    """The same for four cells that lie side by side."""
    whole = n - n % np.uintp(lanes(best))
    for c in range(np.uintp(0), whole, np.uintp(lanes(best))):
        at = s + c
        contest(best, which, t + c, source, (at, at + n, at + n + n, at + n + n + n), cell)
    if whole < n:
        for k in range(4):
            _better(best, which, t + whole, source, s + np.uintp(k) * n + whole, cell + np.int32(k), n - whole)


@jit.reduction
def _unbeaten(best, t, n):
    """How many are still -∞."""
    count = np.int32(0)
    for c in range(n):
        count += np.int32(1) if best[t + c] == -np.inf else np.int32(0)
    return count


@jit.inner
def _same(best, which, t, value, cell, n):
    for c in range(n):
        best[t + c] = value
        which[t + c] = cell


@jit.kernel
def select(start, stop, order, x, batch, row_window, col_window, sums, streaming, values, index):
    """x [B, H, W, C], channels-last; values and int32 index [R, C, h·w], for the RoIs order[start:stop]. ``sums`` is
    empty, of the type that values are compared in; ``streaming``: see ``flush``."""
    _, height, width, channels = x.shape
    h, w = row_window.shape[1], col_window.shape[1]
    bins, pitch = h * w, (channels + 15) // 16 * 16 + PAD  # whole tiles of both types
    source, into, cells = x.reshape(-1), values.reshape(-1), index.reshape(-1)
    best, tile = turning_room(bins, pitch, sums)
    which, whole = turning_room(bins, pitch, cells)
    lines_by_channel, cells_by_channel = np.empty(channels * bins, sums.dtype), np.empty(channels * bins, np.int32)
    n = np.uintp(channels)
    for at in range(start, stop):
        r = order[at]
        image = batch[r] * height * width
        for i in range(h):
            v0, v1 = np.int64(row_window[r, i, 0]), np.int64(row_window[r, i, 1])
            for j in range(w):
                u0, u1 = np.int64(col_window[r, j, 0]), np.int64(col_window[r, j, 1])
                t = np.uintp((i * w + j) * pitch)
                if v0 < 0:  # a box that is not a number
                    _same(best, which, t, sums.dtype.type(np.nan), np.int32(-2), n)
                    continue
                if v1 <= v0 or u1 <= u0:
                    _same(best, which, t, sums.dtype.type(0), np.int32(-1), n)
                    continue
                _same(best, which, t, sums.dtype.type(-np.inf), np.int32(v0 * width + u0), n)
                for v in range(v0, v1):
                    for u in range(u0, u1 - 3, 4):
                        cell = v * width + u
                        s = np.uintp((image + cell) * channels)
                        _better4(best, which, t, source, s, np.int32(cell), n)
                    for u in range(u1 - (u1 - u0) % 4, u1):
                        cell = v * width + u
                        _better(best, which, t, source, np.uintp((image + cell) * channels), np.int32(cell), n)
                if _unbeaten(best, t, n):  # a bin of nothing but NaN or -∞ keeps its first cell, and its value
                    for c in range(n):
                        if best[t + c] == -np.inf:
                            best[t + c] = widen(source[np.uintp((image + which[t + c]) * channels) + c])
        upright(lines_by_channel, 0, bins, best, pitch, channels, tile)
        flush(into, r * channels * bins, lines_by_channel, channels * bins, streaming)
        upright(cells_by_channel, 0, bins, which, pitch, channels, whole)
        flush(cells, r * channels * bins, cells_by_channel, channels * bins, streaming)


@jit.kernel
def select_planes(start, stop, order, x, batch, row_window, col_window, sums, values, index):
    """The same of x [B, C, H, W] as it lies, for (RoI of ``order``, channel) pairs: for so few RoIs that turning the
    maps would take longer."""
    _, channels, height, width = x.shape
    h, w = row_window.shape[1], col_window.shape[1]
    source = x.reshape(-1)
    for pair in range(start, stop):
        r, c = order[pair // channels], pair % channels
        plane = (batch[r] * channels + c) * height * width
        for i in range(h):
            v0, v1 = np.int64(row_window[r, i, 0]), np.int64(row_window[r, i, 1])
            for j in range(w):
                u0, u1 = np.int64(col_window[r, j, 0]), np.int64(col_window[r, j, 1])
                best, cell = sums.dtype.type(-np.inf), v0 * width + u0
                if v0 < 0:  # a box that is not a number
                    best, cell = sums.dtype.type(np.nan), np.int64(-2)
                elif v1 <= v0 or u1 <= u0:
                    best, cell = sums.dtype.type(0), np.int64(-1)
                else:
                    for v in range(v0, v1):
                        for u in range(u0, u1):
                            value = widen(source[np.uintp(plane + v * width + u)])
                            if value > best:
                                best, cell = value, v * width + u
                    if best == -np.inf:  # nothing but NaN or -∞
                        best = widen(source[np.uintp(plane + cell)])
                values[r, c, i * w + j] = narrow(best, values)
                index[r, c, i * w + j] = cell


@jit.kernel
def gather(start, stop, x, batch, level, this, index, out):
    """x [B, C, H·W], index and out [R, C, K]."""
    _, channels, bins = index.shape
    for r in range(start, stop):
        if level[r] != this:
            continue
        b = batch[r]
        for c in range(channels):
            for k in range(bins):
                cell = index[r, c, k]
                out[r, c, k] = x[b, c, cell] if cell >= 0 else (0 if cell == -1 else np.nan)


@jit.kernel
def scatter(start, stop, grad, batch, level, this, index, block, out):
    """grad and index [R, C, K] into out [B, C, H·W], for (image, channel block) pairs: no atomics."""
    channels = out.shape[1]
    blocks = (channels + block - 1) // block
    for pair in range(start, stop):
        b, c0 = pair // blocks, (pair % blocks) * block
        c1 = min(c0 + block, channels)
        out[b, c0:c1] = 0
        for r in range(index.shape[0]):
            if level[r] != this or batch[r] != b:
                continue
            for c in range(c0, c1):
                for k in range(index.shape[2]):
                    cell = index[r, c, k]
                    if cell >= 0:
                        out[b, c, cell] += grad[r, c, k]
