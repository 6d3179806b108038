"""The CPU kernel (Numba) of pooling channels-last maps. Serial over a range of RoIs; ``threads.split`` runs ranges side
by side. The inner loops run over channels.

Lists are read from flat arrays: a slice or a call for each cell would cost as much as the sums.
"""

from __future__ import annotations

import numpy as np

from .. import jit
from ..loops import BLOCK, PAD, add, copy, put, put2, put3, put4, zero
from ..turned import flush, found, upright
from . import chunks


@jit.inner
def _lines(line, pitch, source, base, channels, touched, first, slots, cell, weight, e0, count, stride, n):
    """line[s · pitch:] = Σ weight · source[base + cell · stride + touched[s] · channels:] for every slot s."""
    w0, a0 = weight[e0], base + cell[e0] * stride
    if count == 1:
        for s in range(slots):
            u = touched[first + s] * channels
            put(line, np.uintp(s * pitch), source, np.uintp(a0 + u), w0, n)
        return
    w1, a1 = weight[e0 + 1], base + cell[e0 + 1] * stride
    if count == 2:
        for s in range(slots):
            u = touched[first + s] * channels
            put2(line, np.uintp(s * pitch), source, np.uintp(a0 + u), w0, np.uintp(a1 + u), w1, n)
        return
    w2, a2 = weight[e0 + 2], base + cell[e0 + 2] * stride
    if count == 3:
        for s in range(slots):
            u, t = touched[first + s] * channels, np.uintp(s * pitch)
            put3(line, t, source, np.uintp(a0 + u), w0, np.uintp(a1 + u), w1, np.uintp(a2 + u), w2, n)
        return
    w3, a3 = weight[e0 + 3], base + cell[e0 + 3] * stride
    for s in range(slots):
        u, t = touched[first + s] * channels, np.uintp(s * pitch)
        put4(
            line, t, source, np.uintp(a0 + u), w0, np.uintp(a1 + u), w1, np.uintp(a2 + u), w2, np.uintp(a3 + u), w3, n
        )  # fmt: skip
        for e in range(e0 + 4, e0 + count):
            add(line, t, source, np.uintp(base + cell[e] * stride + u), weight[e], n)


@jit.inner
def _bins(target, t0, step, bins, line, pitch, slot, weight, capacity, e0, count, k0, n, scratch):
    """target[t0 + j · step:] = Σ weight · line[slot · pitch:] for every bin j."""
    for j in range(bins):
        t, e, m = np.uintp(t0 + j * step), e0 + j * capacity, count[k0 + j]
        if m == 0:
            zero(target, t, n)
            continue
        w0, a0 = weight[e], np.uintp(slot[e] * pitch)
        if m == 1:
            put(target, t, line, a0, w0, n)
            continue
        w1, a1 = weight[e + 1], np.uintp(slot[e + 1] * pitch)
        if m == 2:
            put2(target, t, line, a0, w0, a1, w1, n)
            continue
        w2, a2 = weight[e + 2], np.uintp(slot[e + 2] * pitch)
        if m == 3:
            put3(target, t, line, a0, w0, a1, w1, a2, w2, n)
            continue
        w3, a3 = weight[e + 3], np.uintp(slot[e + 3] * pitch)
        if m == 4:
            put4(target, t, line, a0, w0, a1, w1, a2, w2, a3, w3, n)
            continue
        put4(scratch, np.uintp(0), line, a0, w0, a1, w1, a2, w2, a3, w3, n)
        for k in range(e + 4, e + m):
            add(scratch, np.uintp(0), line, np.uintp(slot[k] * pitch), weight[k], n)
        copy(target, t, scratch, np.uintp(0), n)


@jit.kernel
def pool(
    start, stop, order, x, batch, rule_y, rule_x, samples_y, samples_x, rows, cols,
    row_taps, row_window, col_taps, col_window, capacity, sums, last, streaming, out,
):  # fmt: skip
    """x [B, H, W, C] into out, [R, h, w, C] where ``last``, else [R, C, h, w], for the RoIs order[start:stop].
    ``sums`` is empty, of the type of the sums; ``streaming``: see ``flush``."""
    _, height, width, channels = x.shape
    h, w = (out.shape[1], out.shape[2]) if last else (out.shape[2], out.shape[3])
    source, target = x.reshape(-1), out.reshape(-1)
    block, bins = min(channels, BLOCK), h * w
    pitch = block if last else block + PAD
    turned, tile = found(w if last else bins, pitch, sums)
    page = np.empty(0 if last else bins * block, sums.dtype)
    line, scratch = np.empty((width + 1) * block, sums.dtype), np.empty(block, sums.dtype)
    chunk = chunks.new(h, w, capacity, width, sums)
    row_cell, row_weight, row_count = chunk.rows.reshape(-1), chunk.row_weight.reshape(-1), chunk.row_count.reshape(-1)
    col_slot, col_weight, col_count = chunk.cols.reshape(-1), chunk.col_weight.reshape(-1), chunk.col_count.reshape(-1)
    touched = chunk.touched.reshape(-1)
    for m0 in range(start, stop, len(chunk.slots)):
        m1 = min(m0 + len(chunk.slots), stop)
        for m in range(m0, m1):
            chunks.read(
                chunk, m - m0, order[m], rule_y, rule_x, samples_y, samples_x, rows, cols,
                row_taps, row_window, col_taps, col_window, height, width,
            )  # fmt: skip
        for c0 in range(0, channels, block):
            n = np.uintp(min(block, channels - c0))
            for m in range(m1 - m0):
                r = order[m0 + m]
                image = batch[r] * height * width * channels + c0
                for i in range(h):
                    k = m * h + i
                    e0, k0 = m * w * capacity, m * w
                    t0 = 0 if last else i * w * pitch
                    if row_count[k] == 0:
                        zero(turned, np.uintp(t0), np.uintp(w * pitch))
                    else:
                        _lines(
                            line, block, source, image, channels, touched, m * (width + 1), chunk.slots[m],
                            row_cell, row_weight, k * capacity, row_count[k], width * channels, n,
                        )  # fmt: skip
                        _bins(
                            turned, t0, pitch, w, line, block,
                            col_slot, col_weight, capacity, e0, col_count, k0, n, scratch,
                        )  # fmt: skip
                    if last and block == channels:
                        flush(target, (r * h + i) * w * channels, turned, w * channels, streaming)
                    elif last:
                        for j in range(w):
                            t = np.uintp(((r * h + i) * w + j) * channels + c0)
                            copy(target, t, turned, np.uintp(j * pitch), n)
                if not last:
                    upright(page, 0, bins, turned, pitch, np.int64(n), tile)
                    flush(target, (r * channels + c0) * bins, page, np.int64(n) * bins, streaming)
