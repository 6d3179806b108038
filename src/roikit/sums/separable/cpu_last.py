"""The CPU kernel (Numba) of pooling channels-last maps. Serial over a range of RoIs; ``threads.split`` runs ranges side
by side. The sums over a bin's rows and columns stay in registers, some vectors of channels at a time, so that nothing
but the bins is stored.

Lists are read from flat arrays: a slice or a call for each cell would cost as much as the sums.
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from .. import jit
from ..entries import slots_of
from ..loops import BLOCK, PAD, zero
from ..turned import flush, turning_room, upright
from ..vector import cross, lanes
from . import chunks

FAR = 8 << 20  # bytes of maps from which cells are best read whole, one after the other, as memory likes it
SHARED = 4  # bins that read a column, on average, beyond which columns are summed once for all bins of a row


# The entries of some bins on one axis: bin i's count[first + i] places in memory, and weights, are listed from
# (first + i) · capacity.
Listed = namedtuple("Listed", "place weight count first capacity")


def _crossing(past_caches):
    @jit.inner
    def crossed(target, t0, t_row, step, h, w, source, s, rows, cols, n):
        """target[t0 + i · t_row + j · step:] = Σ_e cols.weight[e] · (Σ_l rows.weight[l] · source[s + rows.place[l] +
        cols.place[e]:]) of n channels for every bin (i, j)."""
        for i in range(h):
            f, height = np.uintp((rows.first + i) * rows.capacity), np.uintp(rows.count[rows.first + i])
            for j in range(w):
                e, width = np.uintp((cols.first + j) * cols.capacity), np.uintp(cols.count[cols.first + j])
                t = t0 + i * t_row + j * step
                if height == 0 or width == 0:
                    zero(target, np.uintp(t), np.uintp(n))
                    continue
                cross(
                    target, np.uintp(t), source, np.uintp(s), rows.place, rows.weight, f, height,
                    cols.place, cols.weight, e, width, np.uintp(n), past_caches,
                )  # fmt: skip

    return crossed


_crossed, _crossed_past = _crossing(False), _crossing(True)


def _making(crossed):
    @jit.inner
    def made(target, t0, t_row, step, h, w, source, s, rows, cols, n, line, pitch, columns, slots, whole):
        """A RoI's bins. Where ``slots`` > 0, the map's columns ``columns`` are summed over a bin's rows into ``line``
        before, ``pitch`` numbers each, and ``cols`` says where in it; ``whole`` lists that line as the only row."""
        if slots == 0:
            crossed(target, t0, t_row, step, h, w, source, s, rows, cols, n)
            return
        for i in range(h):
            row = Listed(rows.place, rows.weight, rows.count, rows.first + i, rows.capacity)
            _crossed(line, 0, 0, pitch, 1, slots, source, s, row, columns, n)
            crossed(target, t0 + i * t_row, 0, step, 1, w, line, 0, whole, cols, n)

    return made


_made, _made_past = _making(_crossed), _making(_crossed_past)


@jit.helper
def _shared(cell, count, k0, bins, capacity, e0):
    """Whether a RoI's bins share their columns so that these are better summed once."""
    first, last, listed = np.int64(1 << 60), np.int64(-1), np.int64(0)
    for j in range(bins):
        listed += count[k0 + j]
        for e in range(e0 + j * capacity, e0 + j * capacity + count[k0 + j]):
            first, last = min(first, cell[e]), max(last, cell[e])
    return listed > SHARED * (last - first + 1) and listed > 0


@jit.kernel
def pool(
    start, stop, order, x, batch, rows, cols, capacity, sums, last, streaming, out,
):  # fmt: skip
    """x [B, H, W, C] into out, [R, h, w, C] where ``last``, else [R, C, h, w], for the RoIs order[start:stop].
    ``sums`` is empty, of the type of the sums; ``streaming``: out is written past the caches, see ``stream``."""
    _, height, width, channels = x.shape
    h, w = (out.shape[1], out.shape[2]) if last else (out.shape[2], out.shape[3])
    source, target = x.reshape(-1), out.reshape(-1)
    block, bins = min(channels, BLOCK), h * w
    pitch = block + PAD
    turned, tile = turning_room(0 if last else bins, pitch, sums)
    lines_by_channel = np.empty(0 if last else bins * block, sums.dtype)
    past_caches = streaming and channels % lanes(sums) == 0  # else vectors of the output are not aligned
    chunk = chunks.new(h, w, capacity, sums)
    row, row_weight, row_count = chunk.rows.reshape(-1), chunk.row_weight.reshape(-1), chunk.row_count.reshape(-1)
    col, col_weight, col_count = chunk.cols.reshape(-1), chunk.col_weight.reshape(-1), chunk.col_count.reshape(-1)
    far = x.size * x.itemsize > FAR
    # Where columns are summed once: which these are, of each RoI of a chunk and of one; and the line they make.
    touched, slots = np.empty((len(chunk.rows), width + 1), np.int64), np.zeros(len(chunk.rows), np.int64)
    line, ones, one = np.empty(width * block, sums.dtype), np.ones(width, sums.dtype), np.ones(width, np.int64)
    columns, whole = Listed(np.empty(width, np.int64), ones, one, 0, 1), Listed(np.zeros(1, np.int64), ones, one, 0, 1)
    for m0 in range(start, stop, len(chunk.rows)):
        m1 = min(m0 + len(chunk.rows), stop)
        for m in range(m1 - m0):
            chunks.read(chunk, m, order[m0 + m], rows, cols, height, width)
            slots[m] = 0
            if far or _shared(col, col_count, m * w, w, capacity, m * w * capacity):
                slots[m] = slots_of(w, chunk.cols[m], chunk.col_count[m], chunk.cols[m], touched[m])
            for i in range(h):  # cells become places in memory
                for f in range((m * h + i) * capacity, (m * h + i) * capacity + row_count[m * h + i]):
                    row[f] *= width * channels
            for j in range(w):
                for e in range((m * w + j) * capacity, (m * w + j) * capacity + col_count[m * w + j]):
                    col[e] *= block if slots[m] else channels
        for c0 in range(0, channels, block):
            n = min(block, channels - c0)
            for m in range(m1 - m0):
                r = order[m0 + m]
                image = batch[r] * height * width * channels + c0
                for k in range(slots[m]):
                    columns.place[k] = touched[m, k] * channels
                rows_of = Listed(row, row_weight, row_count, m * h, capacity)
                cols_of = Listed(col, col_weight, col_count, m * w, capacity)
                t = r * bins * channels + c0
                if last and past_caches:
                    _made_past(
                        target, t, w * channels, channels, h, w, source, image, rows_of, cols_of, n,
                        line, block, columns, slots[m], whole,
                    )  # fmt: skip
                elif last:
                    _made(
                        target, t, w * channels, channels, h, w, source, image, rows_of, cols_of, n,
                        line, block, columns, slots[m], whole,
                    )  # fmt: skip
                else:
                    _made(
                        turned, 0, w * pitch, pitch, h, w, source, image, rows_of, cols_of, n,
                        line, block, columns, slots[m], whole,
                    )  # fmt: skip
                if not last:
                    upright(lines_by_channel, 0, bins, turned, pitch, np.int64(n), tile)
                    flush(target, (r * channels + c0) * bins, lines_by_channel, np.int64(n) * bins, streaming)
