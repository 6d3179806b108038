"""The CPU kernels (Numba); how they are run: see ``separable/cpu_last.py``.

The derivatives take maps that lie as [B, H, W, step, C / step]: the channels a bin reads, base + c · step, are then one
run that starts at (base mod step) · C/step + base div step.
"""

from __future__ import annotations

import numpy as np

from .. import jit
from ..loops import PAD, add, add4, dot, put, put4, zero
from ..turned import flush, turning_room, upright
from ..vector import fused, widen
from . import lists

BLOCK = 64  # channels of a backward task


@jit.inner
def _strided(target, t, source, first, step, cell, weight, count, n):
    """target[t + c] = Σ weight[e] · source[first + cell[e] + c · step]; ``cell`` counts numbers of the map."""
    for c in range(n):
        at = first + np.uintp(c) * step
        total = weight[0] * widen(source[at + np.uintp(cell[0])])
        for e in range(np.uintp(1), np.uintp(count)):
            total = fused(weight[e], widen(source[at + np.uintp(cell[e])]), total)
        target[t + np.uintp(c)] = total


@jit.kernel
def pool(
    start, stop, order, x, batch, rows, cols, capacity, sums, base, step, last, streaming, out,
):  # fmt: skip
    """x [B, H, W, C] into out, [R, K, run] where ``last``, else [R, run, K], for the RoIs order[start:stop]: bin
    k reads channels base + c · step. ``sums`` is empty, of the type of the sums; ``streaming``: see ``flush``."""
    _, height, width, channels = x.shape
    bins, run = (out.shape[1], out.shape[2]) if last else (out.shape[2], out.shape[1])
    source, target = x.reshape(-1), out.reshape(-1)
    down, across = lists.new(1, bins, capacity, sums), lists.new(1, bins, capacity, sums)
    cell, weight = np.empty(capacity * capacity, np.int64), np.empty(capacity * capacity, sums.dtype)
    pitch = run if last else run + PAD
    turned, tile = turning_room(bins, pitch, sums)
    lines_by_channel = np.empty(0 if last else bins * run, sums.dtype)
    n = np.uintp(run)
    for at in range(start, stop):
        r = order[at]
        image = batch[r] * height * width
        lists.read(down, 0, rows, r, cols.axis.shape[1], bins, height)
        lists.read(across, 0, cols, r, 1, bins, width)
        for k in range(bins):
            i, j = down.which[0, k], across.which[0, k]
            nv, nu = down.count[0, i], across.count[0, j]
            count = nv * nu
            for e in range(nv):
                for f in range(nu):
                    cell[e * nu + f] = down.cell[0, i, e] * width + across.cell[0, j, f]
                    weight[e * nu + f] = down.weight[0, i, e] * across.weight[0, j, f]
            t, first = np.uintp(k * pitch), image * channels + lists.first_channel(base, r, k)
            if count == 0:
                zero(turned, t, n)
            elif step > 1:
                for e in range(count):
                    cell[e] *= channels
                _strided(turned, t, source, np.uintp(first), np.uintp(step), cell, weight, count, n)
            else:
                done = count % 4  # sums of four at a time, after the first few
                if done == 0:
                    put4(
                        turned, t, source, np.uintp(first + cell[0] * channels), weight[0],
                        np.uintp(first + cell[1] * channels), weight[1],
                        np.uintp(first + cell[2] * channels), weight[2],
                        np.uintp(first + cell[3] * channels), weight[3], n,
                    )  # fmt: skip
                    done = 4
                else:
                    put(turned, t, source, np.uintp(first + cell[0] * channels), weight[0], n)
                    for e in range(1, done):
                        add(turned, t, source, np.uintp(first + cell[e] * channels), weight[e], n)
                for e in range(done, count, 4):
                    add4(
                        turned, t, source, np.uintp(first + cell[e] * channels), weight[e],
                        np.uintp(first + cell[e + 1] * channels), weight[e + 1],
                        np.uintp(first + cell[e + 2] * channels), weight[e + 2],
                        np.uintp(first + cell[e + 3] * channels), weight[e + 3], n,
                    )  # fmt: skip
        if last:
            flush(target, r * bins * run, turned, bins * run, streaming)
        else:
            upright(lines_by_channel, 0, bins, turned, pitch, run, tile)
            flush(target, r * run * bins, lines_by_channel, run * bins, streaming)


@jit.kernel
def spread(
    start, stop, grad, batch, level, this, rows, cols, capacity, base, step, block, out,
):  # fmt: skip
    """grad [R, K, run] into out [B, H, W, C] (C ordered by step), for (image, block of C / step) pairs: no atomics."""
    _, height, width, channels = out.shape
    _, bins, run = grad.shape
    source, target = grad.reshape(-1), out.reshape(-1)
    down, across = lists.new(1, bins, capacity, grad), lists.new(1, bins, capacity, grad)
    row_index, col_index = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
    row_weight, col_weight = np.empty(capacity, grad.dtype), np.empty(capacity, grad.dtype)
    shared = lists.is_shared(rows, bins) or lists.is_shared(cols, bins)
    part = channels // step
    blocks = (part + block - 1) // block
    pixels = height * width
    for pair in range(start, stop):
        b, c0 = pair // blocks, (pair % blocks) * block
        c1 = min(c0 + block, part)
        for p in range(b * pixels, (b + 1) * pixels):
            for s in range(step):
                to = np.uintp(p * channels + s * part + c0)
                for c in range(np.uintp(c1 - c0)):
                    target[to + c] = 0
        for r in range(batch.shape[0]):
            if level[r] != this or batch[r] != b:
                continue
            if shared:
                lists.read(down, 0, rows, r, cols.axis.shape[1], bins, height)
                lists.read(across, 0, cols, r, 1, bins, width)
            for k in range(bins):
                begin = lists.first_channel(base, r, k)
                own = begin // step  # the bin's run is [own, own + run) of the part; this task's share of it:
                low, high = max(c0, own), min(c1, own + run)
                if high <= low:
                    continue
                if shared:
                    nv = lists.copy(down, k, row_index, row_weight)
                    nu = lists.copy(across, k, col_index, col_weight)
                else:
                    nv = lists.entries(rows, r, k, height, row_index, row_weight)
                    nu = lists.entries(cols, r, k, width, col_index, col_weight)
                first = begin % step * part + low
                g = np.uintp((r * bins + k) * run + low - own)
                for i in range(nv):
                    line = b * pixels + row_index[i] * width
                    for j in range(nu):
                        to = np.uintp((line + col_index[j]) * channels + first)
                        add(target, to, source, g, row_weight[i] * col_weight[j], np.uintp(high - low))


@jit.kernel
def grad_main(
    start, stop, x, stride_main, stride_other, cells, grad, batch, level, this, window, other, capacity,
    base, step, part, out,
):  # fmt: skip
    """∂/∂ taps of the main axis, inside their ``window``, for RoIs start … stop: out [R, K, N]; rows and columns with
    the strides exchanged.

    ``x`` is [B, H·W·C], ``grad`` [R, K, run]; ``other`` is the other axis, of ``cells`` cells.
    """
    _, bins, run = grad.shape
    source, upstream = x.reshape(-1), grad.reshape(-1)
    index, weight = np.empty(capacity, np.int64), np.empty(capacity, grad.dtype)
    n = np.uintp(run)
    for r in range(start, stop):
        if level[r] != this:
            continue
        image = batch[r] * x.shape[1]
        for k in range(bins):
            count = lists.entries(other, r, k, cells, index, weight)
            begin = lists.first_channel(base, r, k)
            first = image + begin % step * part + begin // step
            g = np.uintp((r * bins + k) * run)
            for v in range(window[r, k, 0], min(window[r, k, 1], out.shape[2])):
                total = grad.dtype.type(0)
                for e in range(count):
                    at = np.uintp(first + v * stride_main + index[e] * stride_other)
                    total += weight[e] * dot(source, at, upstream, g, n)
                out[r, k, v] = total
