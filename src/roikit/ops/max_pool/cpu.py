"""The CPU kernels (Numba) of max pooling: see ``grid_pool/cpu.py`` for how they are run."""

from __future__ import annotations

import numpy as np

from .. import jit


@jit.inner
def _better(best, which, source, s, cell, n):
    for c in range(n):
        value = source[s + c]
        wins = value > best[c]
        best[c] = value if wins else best[c]
        which[c] = cell if wins else which[c]


@jit.kernel
def select(start, stop, x, batch, level, this, row_window, col_window, pitch, values, index):
    """x [B, H, W, C], channels-last; values and int32 index [R, C, h·w]. ``pitch`` is C and some padding, so that lines
    do not fall into the same cache sets when they are turned."""
    _, height, width, channels = x.shape
    h, w = row_window.shape[1], col_window.shape[1]
    bins = h * w
    source = x.reshape(-1)
    best, which = np.empty((bins, pitch), x.dtype), np.empty((bins, pitch), np.int32)
    n = np.uintp(channels)
    for r in range(start, stop):
        if level[r] != this:
            continue
        image = batch[r] * height * width
        for i in range(h):
            v0, v1 = np.int64(row_window[r, i, 0]), np.int64(row_window[r, i, 1])
            for j in range(w):
                u0, u1 = np.int64(col_window[r, j, 0]), np.int64(col_window[r, j, 1])
                k = i * w + j
                if v0 < 0:  # a box that is not a number
                    best[k] = np.nan
                    which[k] = -2
                    continue
                if v1 <= v0 or u1 <= u0:
                    best[k] = 0
                    which[k] = -1
                    continue
                # A bin of nothing but NaN or -∞ keeps its first cell, and its value.
                best[k] = -np.inf
                which[k] = np.int32(v0 * width + u0)
                for v in range(v0, v1):
                    for u in range(u0, u1):
                        cell = v * width + u
                        _better(best[k], which[k], source, np.uintp((image + cell) * channels), np.int32(cell), n)
        for c in range(channels):
            for k in range(bins):
                value, cell = best[k, c], which[k, c]
                if value == -np.inf:
                    value = source[np.uintp((image + cell) * channels) + np.uintp(c)]
                values[r, c, k] = value
                index[r, c, k] = cell


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
