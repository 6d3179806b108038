"""The CPU kernel (Numba) of pooling NCHW maps, without turning the map: only what a RoI reads of it is turned.

A vector's worth of channels at a time. Rows of bins are first summed over map rows, along the map's own rows; these
lines are transposed in registers, so that the sums over columns run over channels; and so are the bins in the end. The
planes of a few channels stay near the core for all RoIs of a chunk.
"""

from __future__ import annotations

import numpy as np

from .. import jit
from ..entries import slots_of
from ..turned import turning_room, upright
from ..vector import blend, fused, lanes, turn, widen
from . import chunks

SPARSE = 3  # where fewer than one in so many of a RoI's columns are read, they are read one by one


@jit.inner
def _rows(line, length, source, image, plane, channels, parts, start, weight, e0, count):
    """line[c · length:] = Σ weight[e] · source[image + c · plane + start[e]:], ``parts`` vectors, for channels c."""
    vector = lanes(line)
    s0, w0 = image + start[0], weight[e0]
    s1, w1 = (image + start[1], weight[e0 + 1]) if count > 1 else (s0, line.dtype.type(0))
    s2, w2 = (image + start[2], weight[e0 + 2]) if count > 2 else (s0, line.dtype.type(0))
    s3, w3 = (image + start[3], weight[e0 + 3]) if count > 3 else (s0, line.dtype.type(0))
    for c in range(channels):
        for part in range(parts):
            at, t = c * plane + part * vector, np.uintp(c * length + part * vector)
            u0, u1, u2, u3 = np.uintp(s0 + at), np.uintp(s1 + at), np.uintp(s2 + at), np.uintp(s3 + at)
            if count == 1:
                blend(line, t, source, (u0,), (w0,))
            elif count == 2:
                blend(line, t, source, (u0, u1), (w0, w1))
            elif count == 3:
                blend(line, t, source, (u0, u1, u2), (w0, w1, w2))
            else:
                blend(line, t, source, (u0, u1, u2, u3), (w0, w1, w2, w3))
                for e in range(4, count):
                    u, w = np.uintp(image + start[e] + at), weight[e0 + e]
                    for k in range(lanes(line)):
                        line[t + np.uintp(k)] = fused(w, widen(source[u + np.uintp(k)]), line[t + np.uintp(k)])


@jit.inner
def _cells(line, length, source, image, plane, channels, cells, touched, first, start, weight, e0, count):
    """The same cell by cell: line[c · length + k] for the columns touched[first + k], or, where ``first`` is negative,
    the first ``cells`` columns."""
    for c in range(channels):
        for k in range(cells):
            at = image + c * plane + (touched[first + k] if first >= 0 else k)
            total = weight[e0] * widen(source[np.uintp(at + start[0])])
            for e in range(1, count):
                total = fused(weight[e0 + e], widen(source[np.uintp(at + start[e])]), total)
            line[np.uintp(c * length + k)] = total


@jit.inner
def _bins(pooled, k0, bins, turned, place, weight, capacity, e0, count, j0):
    """pooled[(k0 + j) · lanes:] = Σ weight · turned[place · lanes:], one vector, for every bin j."""
    vector = lanes(pooled)
    for j in range(bins):
        t, e, m = np.uintp((k0 + j) * vector), e0 + j * capacity, count[j0 + j]
        if m == 0:
            for c in range(lanes(pooled)):
                pooled[t + np.uintp(c)] = 0
            continue
        s0, w0 = np.uintp(place[e] * vector), weight[e]
        if m == 1:
            blend(pooled, t, turned, (s0,), (w0,))
            continue
        s1, w1 = np.uintp(place[e + 1] * vector), weight[e + 1]
        if m == 2:
            blend(pooled, t, turned, (s0, s1), (w0, w1))
            continue
        s2, w2 = np.uintp(place[e + 2] * vector), weight[e + 2]
        if m == 3:
            blend(pooled, t, turned, (s0, s1, s2), (w0, w1, w2))
            continue
        s3, w3 = np.uintp(place[e + 3] * vector), weight[e + 3]
        blend(pooled, t, turned, (s0, s1, s2, s3), (w0, w1, w2, w3))
        for k in range(e + 4, e + m):
            s, w = np.uintp(place[k] * vector), weight[k]
            for c in range(lanes(pooled)):
                pooled[t + np.uintp(c)] = fused(w, turned[s + np.uintp(c)], pooled[t + np.uintp(c)])


@jit.helper
def _places(chunk, m, touched, width, vector):
    """Where a RoI's columns lie in its lines: (the first column, vectors of a line, whether all columns from the first
    to the last are there, how many are read). ``chunk.cols`` then counts from the first, or those that are read, which
    ``touched`` lists."""
    slots = slots_of(chunk.cols.shape[1], chunk.cols[m], chunk.col_count[m], chunk.cols[m], touched)
    if slots == 0:
        return 0, 0, True, 0
    first, last = touched[0], touched[slots - 1]
    vectors = (last - first + vector) // vector
    if vectors * vector > max(vector, SPARSE * slots):
        return 0, (slots + vector - 1) // vector, False, slots
    if first + vectors * vector > width:  # read whole vectors inside of the row, where it is as long
        first = max(0, width - vectors * vector)
    for j in range(chunk.cols.shape[1]):
        for e in range(chunk.col_count[m, j]):
            chunk.cols[m, j, e] = touched[chunk.cols[m, j, e]] - first
    return first, vectors, True, slots


@jit.kernel
def pool(
    start, stop, order, x, batch, rows, cols, capacity, sums, out,
):  # fmt: skip
    """x [B, C, H, W] into out [R, C, h, w], for the RoIs order[start:stop]. ``sums`` is empty, of the sums' type."""
    _, channels, height, width = x.shape
    _, _, h, w = out.shape
    source, target = x.reshape(-1), out.reshape(-1)
    vector, plane, bins = lanes(sums), height * width, h * w
    chunk = chunks.new(h, w, capacity, sums)
    row_cell, row_weight, row_count = chunk.rows.reshape(-1), chunk.row_weight.reshape(-1), chunk.row_count.reshape(-1)
    col_place, col_weight, col_count = chunk.cols.reshape(-1), chunk.col_weight.reshape(-1), chunk.col_count.reshape(-1)
    count = len(chunk.rows)
    touched, slots = np.empty((count, width + 1), np.int64), np.empty(count, np.int64)
    columns = touched.reshape(-1)
    first, vectors, dense = np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.bool_)
    length = (width + 2 * vector) // vector * vector
    line, turned = np.zeros(vector * length, sums.dtype), np.empty(vector * length, sums.dtype)
    pooled, tile = turning_room(bins, vector, sums)
    begin = np.empty(capacity, np.int64)
    for m0 in range(start, stop, count):
        m1 = min(m0 + count, stop)
        for m in range(m1 - m0):
            chunks.read(chunk, m, order[m0 + m], rows, cols, height, width)
            first[m], vectors[m], dense[m], slots[m] = _places(chunk, m, touched[m], width, vector)
        for c0 in range(0, channels, vector):
            n = min(vector, channels - c0)
            for m in range(m1 - m0):
                r = order[m0 + m]
                image = (batch[r] * channels + c0) * plane
                parts, u0 = vectors[m], first[m]
                for i in range(h):
                    k = m * h + i
                    e0, cells = k * capacity, row_count[k]
                    if cells == 0 or parts == 0:
                        for t in range(i * w * vector, (i + 1) * w * vector):
                            pooled[t] = 0
                        continue
                    lowest = 0
                    for e in range(cells):
                        begin[e] = row_cell[e0 + e] * width + u0
                        lowest = max(lowest, begin[e])
                    if not dense[m]:
                        _cells(
                            line, length, source, image, plane, n, slots[m], columns, m * (width + 1),
                            begin, row_weight, e0, cells,
                        )  # fmt: skip
                    elif image + (n - 1) * plane + lowest + parts * vector <= source.size:
                        _rows(line, length, source, image, plane, n, parts, begin, row_weight, e0, cells)
                    else:  # whole vectors would reach beyond the last map
                        some = min(parts * vector, width - u0)
                        _cells(
                            line, length, source, image, plane, n, some, columns, -1, begin, row_weight, e0, cells
                        )  # fmt: skip
                    for part in range(parts):
                        turn(
                            turned, np.uintp(part * vector * vector), np.uintp(vector),
                            line, np.uintp(part * vector), np.uintp(length),
                        )  # fmt: skip
                    _bins(
                        pooled,
                        i * w,
                        w,
                        turned,
                        col_place,
                        col_weight,
                        capacity,
                        m * w * capacity,
                        col_count,
                        m * w,
                    )
                upright(target, (r * channels + c0) * bins, bins, pooled, vector, n, tile)
