"""The CPU kernels (Numba). Serial over a range of RoIs, or of (image, channel block) pairs; ``threads.split`` runs them
side by side. Maps are channels-last, so that the inner loops run over channels.

A RoI's rows and columns are lists of (cell, weight) entries, made by its rule or read from given taps. The columns that
any bin touches are numbered 0, 1, … ("slots"); a row of bins is first summed over map rows into one line per slot, and
the bins are then sums of these lines.
"""

from __future__ import annotations

import numpy as np

from .. import jit
from ..loops import PAD, add, dot, put, put2, put3, zero
from ..rules.kernels import fill

TAPS = -1  # in place of a rule's number: the entries come from explicit taps
BLOCK = 256  # channels the forward works on at a time: long enough that starting an inner loop costs little
SPREAD_BLOCK = 64  # channels of a backward task: several tasks even for one image, and a part of the map near the cache


@jit.helper
def _combine(target, t, source, base, stride, index, weight, count, n):
    """target[t:] = Σ weight · source[base + index · stride:], n channels."""
    if count == 0:
        zero(target, t, n)
        return
    s0 = np.uintp(base + index[0] * stride)
    done = 1
    if count == 1:
        put(target, t, source, s0, weight[0], n)
    elif count == 2:
        put2(target, t, source, s0, weight[0], np.uintp(base + index[1] * stride), weight[1], n)
        done = 2
    else:
        s1, s2 = np.uintp(base + index[1] * stride), np.uintp(base + index[2] * stride)
        put3(target, t, source, s0, weight[0], s1, weight[1], s2, weight[2], n)
        done = 3
    for e in range(done, count):
        add(target, t, source, np.uintp(base + index[e] * stride), weight[e], n)


@jit.helper
def _from_taps(r, bins, cells, taps, window, index, weight, count):
    for i in range(bins):
        n = 0
        for v in range(window[r, i, 0], min(window[r, i, 1], cells)):
            w = taps[r, i, v]
            if w != 0:
                index[i, n], weight[i, n] = v, w
                n += 1
        count[i] = n


@jit.helper
def _entries(rule, axis, r, bins, samples, cells, taps, window, index, weight, count):
    """Fill index, weight [bins, capacity] and count [bins] for one RoI on one axis."""
    if rule == TAPS:
        _from_taps(r, bins, cells, taps, window, index, weight, count)
        return
    kind = axis.dtype.type
    lo, beta = axis[r, 0], axis[r, 1] / kind(bins)
    for i in range(bins):
        near, far = kind(i) * beta, kind(i + 1) * beta
        count[i] = fill(rule, lo, beta, near, far, samples, cells, index[i], weight[i])


@jit.helper
def _slots(bins, index, count, slot, touched):
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


@jit.kernel
def pool(
    start, stop, x, batch, level, this, rule_y, rule_x, samples_y, samples_x, rows, cols,
    row_taps, row_window, col_taps, col_window, capacity, last, out,
):  # fmt: skip
    """x [B, H, W, C] and RoIs start … stop into out: [R, h, w, C] where ``last``, else [R, C, h, w]."""
    _, height, width, channels = x.shape
    h, w = (out.shape[1], out.shape[2]) if last else (out.shape[2], out.shape[3])
    source, target = x.reshape(-1), out.reshape(-1)
    row_index, col_index = np.empty((h, capacity), np.int64), np.empty((w, capacity), np.int64)
    row_weight, col_weight = np.empty((h, capacity), x.dtype), np.empty((w, capacity), x.dtype)
    row_count, col_count = np.zeros(h, np.int64), np.zeros(w, np.int64)
    slot, touched = np.empty((w, capacity), np.int64), np.empty(width + 1, np.int64)
    block = min(channels, BLOCK)
    line = np.empty((width + 1) * block, x.dtype)
    pitch = block + PAD
    turned = np.empty(h * w * pitch, x.dtype)
    for r in range(start, stop):
        if level[r] != this:
            continue
        _entries(rule_y, rows, r, h, samples_y, height, row_taps, row_window, row_index, row_weight, row_count)
        _entries(rule_x, cols, r, w, samples_x, width, col_taps, col_window, col_index, col_weight, col_count)
        slots = _slots(w, col_index, col_count, slot, touched)
        image = batch[r] * height * width * channels
        for c0 in range(0, channels, block):
            n = np.uintp(min(block, channels - c0))
            for i in range(h):
                for s in range(slots):
                    base = image + touched[s] * channels + c0
                    _combine(
                        line, np.uintp(s * block), source, base, width * channels,
                        row_index[i], row_weight[i], row_count[i], n,
                    )  # fmt: skip
                for j in range(w):
                    if last:
                        t = np.uintp(((r * h + i) * w + j) * channels + c0)
                        _combine(target, t, line, 0, block, slot[j], col_weight[j], col_count[j], n)
                    else:
                        t = np.uintp((i * w + j) * pitch)
                        _combine(turned, t, line, 0, block, slot[j], col_weight[j], col_count[j], n)
            if not last:
                bins = np.uintp(h * w)
                for c in range(n):
                    to = np.uintp((r * channels + c0) * h * w) + c * bins
                    for k in range(bins):
                        target[to + k] = turned[k * np.uintp(pitch) + c]


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
            _entries(rule_y, rows, r, h, samples_y, height, row_taps, row_window, row_index, row_weight, row_count)
            _entries(rule_x, cols, r, w, samples_x, width, col_taps, col_window, col_index, col_weight, col_count)
            slots = _slots(w, col_index, col_count, slot, touched)
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
        _from_taps(r, w, other, other_taps, other_window, index, weight, count)
        slots = _slots(w, index, count, slot, touched)
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
