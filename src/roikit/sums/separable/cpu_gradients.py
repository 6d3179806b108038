"""The CPU kernels (Numba) of the derivatives. Serial over (image, channel block) pairs, or a range of RoIs;
``threads.split`` runs them side by side. The inner loops run over channels."""

from __future__ import annotations

import numpy as np

from .. import jit
from ..entries import entries, slots_of
from ..loops import PAD, add, copy, dot, put, zero
from ..turned import WIDE, sideways, upright
from ..vector import lanes

SPREAD_BLOCK = 64  # channels of a backward task: several tasks even for one image, and a part of the map near the cache


@jit.kernel
def spread(
    start, stop, order, grad, batch, rows, cols, capacity, block, sums, grad_last, last, out,
):  # fmt: skip
    """grad, [R, h, w, C] where ``grad_last``, else [R, C, h, w], of the RoIs ``order`` into out, [B, H, W, C] where
    ``last``, else [B, C, H, W], for (image, channel block) pairs. ``sums`` is empty, of the type of the sums.

    Each pair owns its part of ``out``: no atomics, and always the same order of sums.
    """
    if last:
        _, height, width, channels = out.shape
    else:
        _, channels, height, width = out.shape
    h, w = (grad.shape[1], grad.shape[2]) if grad_last else (grad.shape[2], grad.shape[3])
    source, target = grad.reshape(-1), out.reshape(-1)
    row_index, col_index = np.empty((h, capacity), np.int64), np.empty((w, capacity), np.int64)
    row_weight, col_weight = np.empty((h, capacity), sums.dtype), np.empty((w, capacity), sums.dtype)
    row_count, col_count = np.zeros(h, np.int64), np.zeros(w, np.int64)
    slot, touched = np.empty((w, capacity), np.int64), np.empty(width + 1, np.int64)
    line = np.empty((width + 1) * block, sums.dtype)
    pitch = block + PAD
    bins, pixels = h * w, height * width
    turned, tile = np.empty(bins * pitch, sums.dtype), np.empty(WIDE * lanes(sums) ** 2, sums.dtype)
    slab = np.empty((height * width + lanes(sums)) * block + lanes(sums), sums.dtype)
    one = sums.dtype.type(1)
    blocks = (channels + block - 1) // block
    for pair in range(start, stop):
        b, c0 = pair // blocks, (pair % blocks) * block
        size = min(block, channels - c0)
        n = np.uintp(size)
        zero(slab, np.uintp(0), np.uintp(pixels * block))
        for r in order:
            if batch[r] != b:
                continue
            entries(rows, r, h, height, row_index, row_weight, row_count)
            entries(cols, r, w, width, col_index, col_weight, col_count)
            slots = slots_of(w, col_index, col_count, slot, touched)
            if grad_last:
                for k in range(bins):
                    put(turned, np.uintp(k * pitch), source, np.uintp((r * bins + k) * channels + c0), one, n)
            else:
                sideways(turned, 0, pitch, source, (r * channels + c0) * bins, bins, bins, size)
            for i in range(h):
                if row_count[i] == 0:
                    continue
                zero(line, np.uintp(0), np.uintp(slots * block))
                for j in range(w):
                    for e in range(col_count[j]):
                        t = np.uintp(slot[j, e] * block)
                        add(line, t, turned, np.uintp((i * w + j) * pitch), col_weight[j, e], n)
                for e in range(row_count[i]):
                    base = row_index[i, e] * width
                    for s in range(slots):
                        t = np.uintp((base + touched[s]) * block)
                        add(slab, t, line, np.uintp(s * block), row_weight[i, e], n)
        if last:
            for p in range(pixels):
                copy(target, np.uintp((b * pixels + p) * channels + c0), slab, np.uintp(p * block), n)
        else:
            upright(target, (b * channels + c0) * pixels, pixels, slab, block, size, tile)


@jit.kernel
def grad_main(
    start, stop, x, stride_main, stride_other, cells, grad, batch, level, this, window, other, capacity, out
):  # fmt: skip
    """∂/∂ taps of the main axis, inside their ``window``, for RoIs start … stop: out [R, bins, N].

    ``x`` is a flat channels-last map, ``grad`` [R, main bins, other bins, C]; ``other`` is the other axis, of ``cells``
    cells. Rows and columns are the same kernel with the strides exchanged.
    """
    _, h, w, channels = grad.shape
    source, upstream = x.reshape(-1), grad.reshape(-1)
    index, weight = np.empty((w, capacity), np.int64), np.empty((w, capacity), grad.dtype)
    count = np.zeros(w, np.int64)
    slot, touched = np.empty((w, capacity), np.int64), np.empty(cells + 1, np.int64)
    line = np.empty((cells + 1) * channels, grad.dtype)
    n = np.uintp(channels)
    main = out.shape[2]
    for r in range(start, stop):
        if level[r] != this:
            continue
        entries(other, r, w, cells, index, weight, count)
        slots = slots_of(w, index, count, slot, touched)
        image = batch[r] * x.shape[1]
        for i in range(h):
            zero(line, np.uintp(0), np.uintp(slots * channels))
            for j in range(w):
                g = np.uintp(((r * h + i) * w + j) * channels)
                for e in range(count[j]):
                    add(line, np.uintp(slot[j, e] * channels), upstream, g, weight[j, e], n)
            for v in range(window[r, i, 0], min(window[r, i, 1], main)):
                total = grad.dtype.type(0)
                for s in range(slots):
                    at = image + v * stride_main + touched[s] * stride_other
                    total += dot(source, np.uintp(at), line, np.uintp(s * channels), n)
                out[r, i, v] = total
