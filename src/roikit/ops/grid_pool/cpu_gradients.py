"""The CPU kernels (Numba) of the derivatives. Serial over (image, channel block) pairs, or a range of RoIs;
``threads.split`` runs them side by side. The inner loops run over channels."""

from __future__ import annotations

import numpy as np

from .. import jit
from ..loops import PAD, add, dot, zero
from .entries import entries, from_taps, slots_of

SPREAD_BLOCK = 64  # channels of a backward task: several tasks even for one image, and a part of the map near the cache


@jit.kernel
def spread(
    start, stop, grad, batch, level, this, rule_y, rule_x, samples_y, samples_x, rows, cols,
    row_taps, row_window, col_taps, col_window, capacity, block, last, out,
):  # fmt: skip
    """grad [R, C, h, w] into out, [B, H, W, C] where ``last``, else [B, C, H, W], for (image, channel block) pairs.

    Each pair owns its part of ``out``: no atomics, and always the same order of sums.
    """
    if last:
        _, height, width, channels = out.shape
    else:
        _, channels, height, width = out.shape
    _, _, h, w = grad.shape
    source, target = grad.reshape(-1), out.reshape(-1)
    row_index, col_index = np.empty((h, capacity), np.int64), np.empty((w, capacity), np.int64)
    row_weight, col_weight = np.empty((h, capacity), grad.dtype), np.empty((w, capacity), grad.dtype)
    row_count, col_count = np.zeros(h, np.int64), np.zeros(w, np.int64)
    slot, touched = np.empty((w, capacity), np.int64), np.empty(width + 1, np.int64)
    line = np.empty((width + 1) * block, grad.dtype)
    pitch = block + PAD
    turned = np.empty(h * w * pitch, grad.dtype)
    slab = np.empty(height * width * block, grad.dtype)
    blocks = (channels + block - 1) // block
    for pair in range(start, stop):
        b, c0 = pair // blocks, (pair % blocks) * block
        size = min(block, channels - c0)
        n = np.uintp(size)
        slab[:] = 0
        for r in range(batch.shape[0]):
            if level[r] != this or batch[r] != b:
                continue
            entries(rule_y, rows, r, h, samples_y, height, row_taps, row_window, row_index, row_weight, row_count)
            entries(rule_x, cols, r, w, samples_x, width, col_taps, col_window, col_index, col_weight, col_count)
            slots = slots_of(w, col_index, col_count, slot, touched)
            bins = np.uintp(h * w)
            for c in range(n):
                from_ = np.uintp((r * channels + c0) * h * w) + c * bins
                for k in range(bins):
                    turned[k * np.uintp(pitch) + c] = source[from_ + k]
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
        pixels = height * width
        if last:
            for p in range(pixels):
                to, at = np.uintp((b * pixels + p) * channels + c0), np.uintp(p * block)
                for c in range(n):
                    target[to + c] = slab[at + c]
        else:
            for p0 in range(0, pixels, 64):
                for c in range(size):
                    to = np.uintp((b * channels + c0 + c) * pixels + p0)
                    at = np.uintp(p0 * block + c)
                    for p in range(np.uintp(min(64, pixels - p0))):
                        target[to + p] = slab[at + p * np.uintp(block)]


@jit.kernel
def grad_main(
    start, stop, x, stride_main, stride_other, other, grad, batch, level, this,
    main_window, other_taps, other_window, capacity, out,
):  # fmt: skip
    """∂/∂ taps of the main axis for RoIs start … stop: out [R, bins, N].

    ``x`` is a flat channels-last map, ``grad`` [R, main bins, other bins, C]; ``other`` is the other axis' cells.
    Rows and columns are the same kernel with the strides exchanged.
    """
    _, h, w, channels = grad.shape
    source, upstream = x.reshape(-1), grad.reshape(-1)
    index, weight = np.empty((w, capacity), np.int64), np.empty((w, capacity), grad.dtype)
    count = np.zeros(w, np.int64)
    slot, touched = np.empty((w, capacity), np.int64), np.empty(other + 1, np.int64)
    line = np.empty((other + 1) * channels, grad.dtype)
    n = np.uintp(channels)
    main = out.shape[2]
    for r in range(start, stop):
        if level[r] != this:
            continue
        from_taps(r, w, other, other_taps, other_window, index, weight, count)
        slots = slots_of(w, index, count, slot, touched)
        image = batch[r] * x.shape[1]
        for i in range(h):
            zero(line, np.uintp(0), np.uintp(slots * channels))
            for j in range(w):
                g = np.uintp(((r * h + i) * w + j) * channels)
                for e in range(count[j]):
                    add(line, np.uintp(slot[j, e] * channels), upstream, g, weight[j, e], n)
            for v in range(main_window[r, i, 0], min(main_window[r, i, 1], main)):
                total = grad.dtype.type(0)
                for s in range(slots):
                    at = image + v * stride_main + touched[s] * stride_other
                    total += dot(source, np.uintp(at), line, np.uintp(s * channels), n)
                out[r, i, v] = total
