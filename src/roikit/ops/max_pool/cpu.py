"""The CPU kernels (Numba) of max pooling: see ``grid_pool/cpu.py`` for how they are run."""

from __future__ import annotations

import numpy as np

from .. import jit


@jit.inner
def _better(best, which, source, s, cell, n):
    for c in range(n):
        value = source[s + c]
        if value > best[c]:
            best[c] = value
            which[c] = cell


@jit.kernel
def winners(start, stop, x, batch, level, this, row_window, col_window, out):
    """x [B, H, W, C], channels-last; out int32 [R, C, h, w]."""
    _, height, width, channels = x.shape
    h, w = out.shape[2], out.shape[3]
    source = x.reshape(-1)
    best, which = np.empty(channels, x.dtype), np.empty(channels, np.int32)
    n = np.uintp(channels)
    for r in range(start, stop):
        if level[r] != this:
            continue
        image = batch[r] * height * width
        for i in range(h):
            v0, v1 = np.int64(row_window[r, i, 0]), np.int64(row_window[r, i, 1])
            for j in range(w):
                u0, u1 = np.int64(col_window[r, j, 0]), np.int64(col_window[r, j, 1])
                if v1 <= v0 or u1 <= u0:
                    out[r, :, i, j] = -1
                    continue
                # All -∞ or NaN: the first cell, as an argmax gives it.
                best[:] = -np.inf
                which[:] = np.int32(v0 * width + u0)
                for v in range(v0, v1):
                    for u in range(u0, u1):
                        cell = v * width + u
                        _better(best, which, source, np.uintp((image + cell) * channels), np.int32(cell), n)
                for c in range(channels):
                    out[r, c, i, j] = which[c]


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
                out[r, c, k] = x[b, c, cell] if cell >= 0 else 0


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
