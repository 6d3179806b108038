"""The GPU kernels (Triton), all levels in one launch. A program has a block of channels of one bin, or, where sums must
have the same order in every run, of a piece of a map's row.

Tiles are [cells of a row, channels]: where maps lie channels-last neighbouring threads read neighbouring channels,
otherwise neighbouring cells. The weights of a tile's cells are evaluated, or read from explicit taps, as a vector; rows
of weight 0 are skipped, and cells of weight 0 are not read.
"""

from __future__ import annotations

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

from .. import gpu
from ..gpu import chosen, map_of, piece_of, strides
from ..maps import is_channels_last, sum_dtype
from ..rules_gpu import TAPS
from ..rules_gpu_bins import gpu_axes, shared, span, weights_of
from .where import Grid


@triton.jit
def _one(
    maps, sizes, batch, level, rows, cols, row_taps, row_window, col_taps, col_window, pooled, images, channels,
    row_width, col_width, RULE_Y: tl.constexpr, RULE_X: tl.constexpr, SAMPLES_Y: tl.constexpr,
    SAMPLES_X: tl.constexpr, BINS_Y: tl.constexpr, BINS_X: tl.constexpr, LAST: tl.constexpr, POOLED_LAST: tl.constexpr,
    SPREAD: tl.constexpr, CELLS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """One bin and block of channels: its sum into ``pooled``, or (SPREAD) its gradient from there into the maps."""
    r = (tl.program_id(0) // (BINS_Y * BINS_X)).to(tl.int64)
    k = tl.program_id(0) % (BINS_Y * BINS_X)
    i, j = k // BINS_X, k % BINS_X
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    base, image, height, width, exists = map_of(maps, sizes, batch, level, r, images)
    of_image, of_row, of_col, of_channel = strides(height, width, channels, LAST)
    base += image * of_image
    top, bottom = span(RULE_Y, SAMPLES_Y, BINS_Y, rows, row_window, r, i, height)
    left, right = span(RULE_X, SAMPLES_X, BINS_X, cols, col_window, r, j, width)
    bottom = tl.where(exists, bottom, top)
    y, beta_y, share_y = shared(RULE_Y, SAMPLES_Y, BINS_Y, rows, r, i, top, bottom, height)
    x, beta_x, share_x = shared(RULE_X, SAMPLES_X, BINS_X, cols, r, j, left, right, width)
    if POOLED_LAST:
        at = pooled + (r * (BINS_Y * BINS_X) + k) * channels + c
    else:
        at = pooled + (r * channels + c) * (BINS_Y * BINS_X) + k
    if maps[0].dtype.element_ty == tl.float64:
        total = tl.zeros([CHANNELS], tl.float64)
    else:
        total = tl.zeros([CHANNELS], tl.float32)
    if SPREAD:
        total += tl.load(at, c < channels, 0.0).to(total.dtype)
    for u0 in range(left, right, CELLS):
        u = u0 + tl.arange(0, CELLS)
        high = tl.minimum(u0 + CELLS, right) - 1
        col = weights_of(
            RULE_X, SAMPLES_X, BINS_X, col_taps, col_width, r, j, left, right, x, beta_x, share_x, width, u, u0, high,
        ).to(total.dtype)  # fmt: skip
        here = (col != 0)[:, None] & (c < channels)[None, :]
        tile = base + u[:, None].to(tl.int64) * of_col + c[None, :].to(tl.int64) * of_channel
        line = tl.zeros([CELLS, CHANNELS], total.dtype)
        for v in range(top, bottom):
            row = weights_of(
                RULE_Y, SAMPLES_Y, BINS_Y, row_taps, row_width, r, i, top, bottom, y, beta_y, share_y, height, v, v, v,
            ).to(total.dtype)  # fmt: skip
            if row != 0:
                if SPREAD:
                    tl.atomic_add(tile + v * of_row, (row * col)[:, None] * total[None, :], here, sem="relaxed")
                else:
                    line = tl.fma(tl.load(tile + v * of_row, here, 0.0).to(total.dtype), row, line)
        if not SPREAD:
            total += tl.sum(tl.where(here, col[:, None] * line, 0.0), 0)
    if not SPREAD:
        tl.store(at, tl.where(exists, total, float("nan")), c < channels)


@triton.jit
def _gather(
    grad, maps, sizes, order, starts, rows, cols, row_taps, row_window, col_taps, col_window, images, channels,
    row_width, col_width, RULE_Y: tl.constexpr, RULE_X: tl.constexpr, SAMPLES_Y: tl.constexpr,
    SAMPLES_X: tl.constexpr, BINS_Y: tl.constexpr, BINS_X: tl.constexpr, LAST: tl.constexpr, POOLED_LAST: tl.constexpr,
    CELLS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """A piece of a row of a map and a block of channels: the gradients of the bins that read it, RoI by RoI.

    ``order`` and ``starts`` are ``gpu.by_map``'s. Nobody else writes there: no atomics, always the same order of sums.
    """
    at, image, v, u0, height, width = piece_of(sizes, images, tl.program_id(0), CELLS)
    u = u0 + tl.arange(0, CELLS)
    high = tl.minimum(u0 + CELLS, width) - 1
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    if grad.dtype.element_ty == tl.float64:
        total = tl.zeros([CELLS, CHANNELS], tl.float64)
    else:
        total = tl.zeros([CELLS, CHANNELS], tl.float32)
    here = starts + at * images + image
    for q in range(tl.load(here).to(tl.int32), tl.load(here + 1).to(tl.int32)):
        r = tl.load(order + q)
        first, stop = span(RULE_Y, SAMPLES_Y, BINS_Y, rows, row_window, r, 0, height)
        if RULE_Y == TAPS:
            first, stop = 0, height  # their windows need not follow each other
        else:
            first2, stop2 = span(RULE_Y, SAMPLES_Y, BINS_Y, rows, row_window, r, BINS_Y - 1, height)
            first, stop = tl.minimum(first, first2), tl.maximum(stop, stop2)
        if (v >= first) & (v < stop):
            for i in range(0, BINS_Y):
                top, bottom = span(RULE_Y, SAMPLES_Y, BINS_Y, rows, row_window, r, i, height)
                if (v >= top) & (v < bottom):
                    y, beta_y, share_y = shared(RULE_Y, SAMPLES_Y, BINS_Y, rows, r, i, top, bottom, height)
                    row = weights_of(
                        RULE_Y, SAMPLES_Y, BINS_Y, row_taps, row_width, r, i, top, bottom,
                        y, beta_y, share_y, height, v, v, v,
                    ).to(total.dtype)  # fmt: skip
                    if row != 0:
                        for j in range(0, BINS_X):
                            left, right = span(RULE_X, SAMPLES_X, BINS_X, cols, col_window, r, j, width)
                            if (left <= high) & (right > u0):
                                x, beta_x, share_x = shared(RULE_X, SAMPLES_X, BINS_X, cols, r, j, left, right, width)
                                col = weights_of(
                                    RULE_X, SAMPLES_X, BINS_X, col_taps, col_width, r, j, left, right,
                                    x, beta_x, share_x, width, u, u0, high,
                                ).to(total.dtype)  # fmt: skip
                                k = i * BINS_X + j
                                if POOLED_LAST:
                                    g = grad + (r * (BINS_Y * BINS_X) + k) * channels + c
                                else:
                                    g = grad + (r * channels + c) * (BINS_Y * BINS_X) + k
                                found = tl.load(g, c < channels, 0.0).to(total.dtype)
                                weighed = tl.fma((row * col)[:, None], found[None, :], total)
                                total = tl.where((col != 0)[:, None], weighed, total)
    of_image, of_row, of_col, of_channel = strides(height, width, channels, LAST)
    tile = chosen(maps, at) + image * of_image + v * of_row
    tile = tile + u[:, None].to(tl.int64) * of_col + c[None, :].to(tl.int64) * of_channel
    tl.store(tile, total, (u < width)[:, None] & (c < channels)[None, :])


@triton.jit
def _grad_taps(
    maps, sizes, batch, level, grad, windows, other_taps, other_window, out, images, channels, out_width, other_width,
    ROWS: tl.constexpr, BINS: tl.constexpr, OTHER: tl.constexpr, LAST: tl.constexpr, POOLED_LAST: tl.constexpr,
    MAIN: tl.constexpr, CELLS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """∂/∂ the taps of bin i of RoI r on the main axis (rows where ROWS): out [R, BINS, out_width], all of it.

    A tile is summed over the other axis' bins first, and then multiplied with each of the MAIN lines it is beside.
    """
    r = (tl.program_id(0) // BINS).to(tl.int64)
    i = tl.program_id(0) % BINS
    base, image, height, width, exists = map_of(maps, sizes, batch, level, r, images)
    of_image, of_row, of_col, of_channel = strides(height, width, channels, LAST)
    base += image * of_image
    if ROWS:
        main, other, of_main, of_other = height, width, of_row, of_col
    else:
        main, other, of_main, of_other = width, height, of_col, of_row
    first, stop = span(TAPS, 0, BINS, windows, windows, r, i, tl.minimum(main, out_width))
    left, right = other, main * 0
    for j in range(0, OTHER):
        low, high = span(TAPS, 0, OTHER, other_window, other_window, r, j, other)
        left, right = tl.where(low < high, tl.minimum(left, low), left), tl.maximum(right, high)
    right = tl.where(exists, right, left)
    for v0 in range(0, out_width, MAIN):
        lines = v0 + tl.arange(0, MAIN)
        total = tl.zeros([MAIN], out.dtype.element_ty)
        if (first < v0 + MAIN) & (stop > v0):
            for c0 in range(0, channels, CHANNELS):
                c = c0 + tl.arange(0, CHANNELS)
                for u0 in range(left, right, CELLS):
                    u = u0 + tl.arange(0, CELLS)
                    line = tl.zeros([CELLS, CHANNELS], out.dtype.element_ty)
                    for j in range(0, OTHER):
                        low, high = span(TAPS, 0, OTHER, other_window, other_window, r, j, other)
                        if (low < u0 + CELLS) & (high > u0):
                            tap = tl.load(other_taps + (r * OTHER + j) * other_width + u, (u >= low) & (u < high), 0.0)
                            if ROWS:
                                k = i * OTHER + j
                            else:
                                k = j * BINS + i
                            if POOLED_LAST:
                                g = grad + (r * (BINS * OTHER) + k) * channels + c
                            else:
                                g = grad + (r * channels + c) * (BINS * OTHER) + k
                            found = tl.load(g, c < channels, 0.0).to(line.dtype)
                            line = tl.fma(tap.to(line.dtype)[:, None], found[None, :], line)
                    here = (u < right)[:, None] & (c < channels)[None, :]
                    tile = base + u[:, None].to(tl.int64) * of_other + c[None, :].to(tl.int64) * of_channel
                    for v in range(tl.maximum(first, v0), tl.minimum(stop, v0 + MAIN)):
                        x = tl.load(tile + v * of_main, here, 0.0).to(line.dtype)
                        found = tl.sum(tl.sum(x * line, 1), 0)
                        total += tl.where(lines == v, found, 0.0)
        inside = (lines >= first) & (lines < stop)
        total = tl.where(inside & (exists == 0), float("nan"), total)
        tl.store(out + (r * BINS + i) * out_width + lines, total, lines < out_width)


def _blocks(channels: int, last: bool) -> dict[str, int]:
    """A program's tile, 8 elements for each of its threads: wide where neighbours in memory lie."""
    cells, most = (4, 128) if last else (8, 64)
    block = min(most, triton.next_power_of_2(max(channels, 1)))
    return {"CELLS": cells, "CHANNELS": block, "warps": max(1, cells * block // 256)}


def _pooled(x: Tensor) -> tuple[Tensor, bool]:
    """[R, C, h, w] as a kernel reads it, and whether it lies channels-last."""
    x = x.detach()
    last = is_channels_last(x)
    return (x if last else x.contiguous()), last


def pool(maps: Sequence[Tensor], where: Grid, last: bool) -> Tensor:
    """``reference.pool``: [R, C, h, w] in the maps' dtype and layout."""
    count, channels, h, w = where.shape(maps[0].shape[1])
    dtype = gpu.stored(maps[0].dtype)
    out = gpu.empty((count, h, w, channels) if last else (count, channels, h, w), dtype, maps[0].device)
    given, widths, constants = gpu_axes(where.axes)
    constants |= {"BINS_Y": h, "BINS_X": w}
    sizes, blocks = gpu.per_level(maps, last), _blocks(channels, last)
    gpu.run(
        _one, (count * h * w, -(-channels // blocks["CHANNELS"])), maps[0], *sizes, where.batch, where.level,
        *given, out, maps[0].shape[0], channels, *widths, **constants, LAST=last, POOLED_LAST=last,
        SPREAD=False, **blocks,
    )  # fmt: skip
    out = out.permute(0, 3, 1, 2) if last else out
    return out.to(maps[0].dtype)


def spread(grad: Tensor, where: Grid, shapes: Sequence[Sequence[int]], last: bool) -> list[Tensor]:
    """``reference.spread``: one [B, C, H_l, W_l] per level in the gradient's dtype, channels-last where ``last``."""
    images, channels = shapes[0][0], shapes[0][1]
    given, widths, constants = gpu_axes(where.axes)
    h, w = where.axes.bins
    source, pooled_last = _pooled(grad)
    blocks = _blocks(channels, last)
    constants |= {"BINS_Y": h, "BINS_X": w, "LAST": last, "POOLED_LAST": pooled_last, **blocks}
    parts = -(-channels // blocks["CHANNELS"])
    if gpu.deterministic():
        maps = gpu.empty_maps(shapes, gpu.stored(grad.dtype), grad.device, last)
        pieces = sum(s[0] * s[2] * -(-s[3] // blocks["CELLS"]) for s in shapes)
        order = gpu.by_map(where.batch, where.level, images, len(shapes))
        gpu.run(
            _gather, (pieces, parts), grad, source, tuple(maps), gpu.sizes_of(shapes), *order, *given, images,
            channels, *widths, **constants,
        )  # fmt: skip
    else:
        maps = [x.zero_() for x in gpu.empty_maps(shapes, sum_dtype(grad.dtype), grad.device, last)]
        gpu.run(
            _one, (grad.shape[0] * h * w, parts), grad, tuple(maps), gpu.sizes_of(shapes), where.batch,
            where.level, *given, source, images, channels, *widths, **constants, SPREAD=True,
        )  # fmt: skip
    return [x.to(grad.dtype) for x in maps]


def grad_taps(maps: Sequence[Tensor], other: Tensor, grad: Tensor, where: Grid, axis: int, width: int) -> Tensor:
    """``reference.grad_taps``: [R, bins, width], 0 outside the windows."""
    assert where.axes.windows is not None
    window, other_window = (where.axes.windows[i].contiguous() for i in (axis, 1 - axis))
    other = other.detach().contiguous()
    channels, last = maps[0].shape[1], is_channels_last(maps[0])
    source, pooled_last = _pooled(grad)
    bins = window.shape[1]
    out = gpu.empty((grad.shape[0], bins, width), sum_dtype(maps[0].dtype), grad.device)
    gpu.run(
        _grad_taps, (grad.shape[0] * bins,), grad, *gpu.per_level(maps, last), where.batch, where.level, source,
        window, other, other_window, out, maps[0].shape[0], channels, width, other.shape[2], ROWS=axis == 0,
        BINS=bins, OTHER=other.shape[1], LAST=last, POOLED_LAST=pooled_last, MAIN=8, **_blocks(channels, last),
    )  # fmt: skip
    return out
