"""The CPU kernels (Numba) of max pooling: see ``grid_pool/cpu_last.py`` for how they are run."""

from __future__ import annotations

import numpy as np

from .. import jit
from ..loops import PAD
from ..turned import found, upright
from ..vector import widen


@jit.inner
def _better(best, which, t, source, s, cell, n):
    for c in range(n):
        value = widen(source[s + c])
        wins = value > best[t + c]
        best[t + c] = value if wins else best[t + c]
        which[t + c] = cell if wins else which[t + c]


@jit.inner
def _lowest(best, t, n):
    low = best[t]
    for c in range(np.uintp(1), n):
        low = min(low, best[t + c])
    return low


@jit.inner
def _same(best, which, t, value, cell, n):
    for c in range(n):
        best[t + c] = value
        which[t + c] = cell


@jit.kernel
def select(start, stop, order, x, batch, row_window, col_window, sums, values, index):
    """x [B, H, W, C], channels-last; values and int32 index [R, C, h·w], for the RoIs order[start:stop]. ``sums`` is empty,
    of the type that values are compared in."""
    _, height, width, channels = x.shape
    h, w = row_window.shape[1], col_window.shape[1]
    bins, pitch = h * w, channels + PAD
    source, into, cells = x.reshape(-1), values.reshape(-1), index.reshape(-1)
    best, tile = found(bins, pitch, sums)
    which = np.zeros(len(best), np.int32)
    whole = np.empty(len(tile), np.int32)
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
                    for u in range(u0, u1):
                        cell = v * width + u
                        _better(best, which, t, source, np.uintp((image + cell) * channels), np.int32(cell), n)
                if _lowest(best, t, n) == -np.inf:  # a bin of nothing but NaN or -∞ keeps its first cell, and its value
                    for c in range(n):
                        if best[t + c] == -np.inf:
                            best[t + c] = widen(source[np.uintp((image + which[t + c]) * channels) + c])
        upright(into, r * channels * bins, bins, best, pitch, channels, tile)
        if which.itemsize == best.itemsize:
            upright(cells, r * channels * bins, bins, which, pitch, channels, whole)
        else:
            for c in range(channels):
                for k in range(bins):
                    cells[np.uintp((r * channels + c) * bins + k)] = which[np.uintp(k * pitch + c)]


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
