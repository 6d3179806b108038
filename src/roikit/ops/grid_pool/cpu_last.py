"""The CPU kernel (Numba) of pooling channels-last maps. Serial over a range of RoIs; ``threads.split`` runs ranges side
by side. The sums over a bin's rows and columns stay in registers, some vectors of channels at a time, so that nothing
but the bins is stored.

Lists are read from flat arrays: a slice or a call for each cell would cost as much as the sums.
"""

from __future__ import annotations

import numpy as np

from .. import jit
from ..loops import BLOCK, PAD, zero
from ..turned import flush, found, upright
from ..vector import cross, lanes
from . import chunks
from .entries import slots_of

FAR = 8 << 20  # bytes of maps from which cells are best read whole, one after the other, as memory likes it
SHARED = 4  # bins that read a column, on average, beyond which columns are summed once for all bins of a row


def _crossing(past_caches):
    @jit.inner
    def crossed(
        target, t0, t_row, step, h, w, source, s, rows, row_weight, row_count, cols, col_weight, col_count,
        row0, col0, row_capacity, col_capacity, n,
    ):  # fmt: skip
        """target[t0 + i · t_row + j · step:] = Σ_e col_weight[e] · (Σ_l row_weight[l] · source[s + rows[l] + cols[e]:])
        of n channels for every bin (i, j). Bin i's row_count[row0 + i] rows are listed from (row0 + i) · row_capacity,
        columns alike. All bins of a RoI in one call, whose many arguments take their time."""
        for i in range(h):
            f, height = np.uintp((row0 + i) * row_capacity), np.uintp(row_count[row0 + i])
            for j in range(w):
                e, width = np.uintp((col0 + j) * col_capacity), np.uintp(col_count[col0 + j])
                t = t0 + i * t_row + j * step
                if height == 0 or width == 0:
                    zero(target, np.uintp(t), np.uintp(n))
                    continue
                cross(
                    target, np.uintp(t), source, np.uintp(s), rows, row_weight, f, height,
                    cols, col_weight, e, width, np.uintp(n), past_caches,
                )  # fmt: skip

    return crossed


_crossed, _crossed_past = _crossing(False), _crossing(True)


def _making(crossed):
    @jit.inner
    def made(
        target, t0, t_row, step, h, w, source, s, rows, row_weight, row_count, cols, col_weight, col_count,
        m, capacity, n, line, pitch, columns, slots, here, once, one,
    ):  # fmt: skip
        """A RoI's bins, the m-th of the lists. Where ``slots`` > 0, its columns are summed over a bin's rows into
        ``line`` before, and ``cols`` says where in it."""
        if slots == 0:
            crossed(
                target, t0, t_row, step, h, w, source, s, rows, row_weight, row_count, cols, col_weight, col_count,
                m * h, m * w, capacity, capacity, n,
            )  # fmt: skip
            return
        for i in range(h):
            _crossed(
                line, 0, 0, pitch, 1, slots, source, s, rows, row_weight, row_count, columns, once, one,
                m * h + i, 0, capacity, 1, n,
            )  # fmt: skip
            crossed(
                target, t0 + i * t_row, 0, step, 1, w, line, 0, here, once, one, cols, col_weight, col_count,
                0, m * w, 1, capacity, n,
            )  # fmt: skip

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
    start, stop, order, x, batch, rule_y, rule_x, samples_y, samples_x, rows, cols,
    row_taps, row_window, col_taps, col_window, capacity, sums, last, streaming, out,
):  # fmt: skip
    """x [B, H, W, C] into out, [R, h, w, C] where ``last``, else [R, C, h, w], for the RoIs order[start:stop].
    ``sums`` is empty, of the type of the sums; ``streaming``: out is written past the caches, see ``stream``."""
    _, height, width, channels = x.shape
    h, w = (out.shape[1], out.shape[2]) if last else (out.shape[2], out.shape[3])
    source, target = x.reshape(-1), out.reshape(-1)
    block, bins = min(channels, BLOCK), h * w
    pitch = block + PAD
    turned, tile = found(0 if last else bins, pitch, sums)
    page = np.empty(0 if last else bins * block, sums.dtype)
    past_caches = streaming and channels % lanes(sums) == 0  # else vectors of the output are not aligned
    chunk = chunks.new(h, w, capacity, sums)
    row, row_weight, row_count = chunk.rows.reshape(-1), chunk.row_weight.reshape(-1), chunk.row_count.reshape(-1)
    col, col_weight, col_count = chunk.cols.reshape(-1), chunk.col_weight.reshape(-1), chunk.col_count.reshape(-1)
    far = x.size * x.itemsize > FAR
    # Where columns are summed once: which these are, of each RoI of a chunk and of one; and lists with one row.
    touched, slots = np.empty((len(chunk.rows), width + 1), np.int64), np.zeros(len(chunk.rows), np.int64)
    columns, line = np.empty(width, np.int64), np.empty(width * block, sums.dtype)
    here, once, one = np.zeros(1, np.int64), np.ones(width, sums.dtype), np.ones(width, np.int64)
    for m0 in range(start, stop, len(chunk.rows)):
        m1 = min(m0 + len(chunk.rows), stop)
        for m in range(m1 - m0):
            chunks.read(
                chunk, m, order[m0 + m], rule_y, rule_x, samples_y, samples_x, rows, cols,
                row_taps, row_window, col_taps, col_window, height, width,
            )  # fmt: skip
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
                    columns[k] = touched[m, k] * channels
                t = r * bins * channels + c0
                if last and past_caches:
                    _made_past(
                        target, t, w * channels, channels, h, w, source, image, row, row_weight, row_count,
                        col, col_weight, col_count, m, capacity, n, line, block, columns, slots[m], here, once, one,
                    )  # fmt: skip
                elif last:
                    _made(
                        target, t, w * channels, channels, h, w, source, image, row, row_weight, row_count,
                        col, col_weight, col_count, m, capacity, n, line, block, columns, slots[m], here, once, one,
                    )  # fmt: skip
                else:
                    _made(
                        turned, 0, w * pitch, pitch, h, w, source, image, row, row_weight, row_count,
                        col, col_weight, col_count, m, capacity, n, line, block, columns, slots[m], here, once, one,
                    )  # fmt: skip
                if not last:
                    upright(page, 0, bins, turned, pitch, np.int64(n), tile)
                    flush(target, (r * channels + c0) * bins, page, np.int64(n) * bins, streaming)
