"""The GPU kernels (Triton), all levels in one launch. A program has a block of channels of one bin, or, where sums must
have the same order in every run, of a piece of a map's row.

A bin is read like a RoI with a single bin: see ``separable/gpu.py``, whose tiles of [cells of a row, channels] these
are. Bin k of RoI r reads channels base[r, k] + c · step of the map; one that is not there gives NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .. import gpu
from ..gpu import chosen, map_of, piece_of, strides
from ..maps import is_channels_last, sum_dtype
from ..rules_gpu import TAPS
from ..rules_gpu_bins import gpu_axes, shared, span, weights_of

if TYPE_CHECKING:
    from .where import Bins

BLOCK = 128  # bins that a piece of a map looks at in one go


@triton.jit
def _one(
    maps, sizes, batch, level, rows, cols, row_taps, row_window, col_taps, col_window, base, base_r, base_k, step,
    pooled, of_r, of_c, of_k, images, channels, bins, run, row_width, col_width, RULE_Y: tl.constexpr,
    RULE_X: tl.constexpr, SAMPLES_Y: tl.constexpr, SAMPLES_X: tl.constexpr, LAST: tl.constexpr, SPREAD: tl.constexpr,
    CELLS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """One bin and block of channels: its sum into ``pooled`` [R, run, K] (with its strides), or (SPREAD) its gradient
    from there into the maps."""
    e = tl.program_id(0).to(tl.int64)
    r, k = e // bins, e % bins
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)).to(tl.int64)
    x, image, height, width, exists = map_of(maps, sizes, batch, level, r, images)
    of_image, of_row, of_col, of_channel = strides(height, width, channels, LAST)
    read = tl.load(base + r * base_r + k * base_k) + c * step
    there = (c < run) & (read >= 0) & (read < channels)
    top, bottom = span(RULE_Y, SAMPLES_Y, 1, rows, row_window, e, 0, height)
    left, right = span(RULE_X, SAMPLES_X, 1, cols, col_window, e, 0, width)
    bottom = tl.where(exists, bottom, top)
    y, beta_y, share_y = shared(RULE_Y, SAMPLES_Y, 1, rows, e, 0, top, bottom, height)
    z, beta_x, share_x = shared(RULE_X, SAMPLES_X, 1, cols, e, 0, left, right, width)
    at = pooled + r * of_r + k * of_k + c * of_c
    if x.dtype.element_ty == tl.float64:
        total = tl.zeros([CHANNELS], tl.float64)
    else:
        total = tl.zeros([CHANNELS], tl.float32)
    if SPREAD:
        total += tl.load(at, there, 0.0).to(total.dtype)
    for u0 in range(left, right, CELLS):
        u = u0 + tl.arange(0, CELLS)
        high = tl.minimum(u0 + CELLS, right) - 1
        col = weights_of(
            RULE_X, SAMPLES_X, 1, col_taps, col_width, e, 0, left, right, z, beta_x, share_x, width, u, u0, high
        ).to(total.dtype)
        here = (col != 0)[:, None] & there[None, :]
        tile = x + image * of_image + u[:, None].to(tl.int64) * of_col + read[None, :] * of_channel
        line = tl.zeros([CELLS, CHANNELS], total.dtype)
        for v in range(top, bottom):
            row = weights_of(
                RULE_Y, SAMPLES_Y, 1, row_taps, row_width, e, 0, top, bottom, y, beta_y, share_y, height, v, v, v
            ).to(total.dtype)
            if row != 0:
                if SPREAD:
                    tl.atomic_add(tile + v * of_row, (row * col)[:, None] * total[None, :], here, sem="relaxed")
                else:
                    line = tl.fma(tl.load(tile + v * of_row, here, 0.0).to(total.dtype), row, line)
        if not SPREAD:
            total += tl.sum(tl.where(here, col[:, None] * line, 0.0), 0)
    if not SPREAD:
        total = tl.where(there & exists, total, float("nan"))
        tl.store(at, total.to(pooled.dtype.element_ty), c < run)


@triton.jit
def _windows(
    maps, sizes, batch, level, rows, cols, row_window, col_window, out, images, bins, RULE_Y: tl.constexpr,
    RULE_X: tl.constexpr, SAMPLES_Y: tl.constexpr, SAMPLES_X: tl.constexpr,
):  # fmt: skip
    """The cells of each bin, out [R · K, 4]: rows from and to, columns from and to."""
    e = tl.program_id(0).to(tl.int64)
    _, _, height, width, exists = map_of(maps, sizes, batch, level, e // bins, images)
    top, bottom = span(RULE_Y, SAMPLES_Y, 1, rows, row_window, e, 0, height)
    left, right = span(RULE_X, SAMPLES_X, 1, cols, col_window, e, 0, width)
    tl.store(out + 4 * e, top)
    tl.store(out + 4 * e + 1, tl.where(exists, bottom, top))
    tl.store(out + 4 * e + 2, left)
    tl.store(out + 4 * e + 3, right)


@triton.jit
def _gather(
    maps, sizes, order, starts, windows, rows, cols, row_taps, row_window, col_taps, col_window, base, base_r, base_k,
    step, grad, of_r, of_c, of_k, images, channels, bins, run, row_width, col_width, RULE_Y: tl.constexpr,
    RULE_X: tl.constexpr, SAMPLES_Y: tl.constexpr, SAMPLES_X: tl.constexpr, LAST: tl.constexpr, CELLS: tl.constexpr,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A piece of a row of a map and a block of channels: the gradients of the bins that read it, one after another.

    ``order`` and ``starts`` are ``gpu.by_map``'s. Nobody else writes there: no atomics, always the same order of sums.
    """
    at, image, v, u0, height, width = piece_of(sizes, images, tl.program_id(0), CELLS)
    u = u0 + tl.arange(0, CELLS)
    high = tl.minimum(u0 + CELLS, width) - 1
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)).to(tl.int64)
    if grad.dtype.element_ty == tl.float64:
        total = tl.zeros([CELLS, CHANNELS], tl.float64)
    else:
        total = tl.zeros([CELLS, CHANNELS], tl.float32)
    here = starts + at * images + image
    stop = tl.load(here + 1).to(tl.int32) * bins
    for q0 in range(tl.load(here).to(tl.int32) * bins, stop, BLOCK):
        q = q0 + tl.arange(0, BLOCK)
        mine = windows + 4 * (tl.load(order + q // bins, q < stop, 0) * bins + q % bins)
        hits = (q < stop) & (tl.load(mine, q < stop, 0) <= v) & (tl.load(mine + 1, q < stop, 0) > v)
        hits = hits & (tl.load(mine + 2, q < stop, 0) <= high) & (tl.load(mine + 3, q < stop, 0) > u0)
        for _ in range(tl.sum(hits.to(tl.int32), 0)):
            n = tl.min(tl.where(hits, q, stop), 0)
            hits = hits & (q > n)
            r, k = tl.load(order + n // bins), n % bins
            e = r * bins + k
            top, bottom = tl.load(windows + 4 * e), tl.load(windows + 4 * e + 1)
            left, right = tl.load(windows + 4 * e + 2), tl.load(windows + 4 * e + 3)
            y, beta_y, share_y = shared(RULE_Y, SAMPLES_Y, 1, rows, e, 0, top, bottom, height)
            z, beta_x, share_x = shared(RULE_X, SAMPLES_X, 1, cols, e, 0, left, right, width)
            row = weights_of(
                RULE_Y, SAMPLES_Y, 1, row_taps, row_width, e, 0, top, bottom, y, beta_y, share_y, height, v, v, v
            ).to(total.dtype)
            col = weights_of(
                RULE_X, SAMPLES_X, 1, col_taps, col_width, e, 0, left, right, z, beta_x, share_x, width, u, u0, high
            ).to(total.dtype)
            beyond_base = c - tl.load(base + r * base_r + k * base_k)
            own = (beyond_base >= 0) & (beyond_base % step == 0) & (beyond_base // step < run)
            source = grad + r * of_r + k * of_k + beyond_base // step * of_c
            found = tl.load(source, own & (c < channels), 0.0).to(total.dtype)
            weight = (row * col)[:, None] + tl.zeros_like(total)
            weighed = tl.fma(weight, found[None, :] + tl.zeros_like(total), total)
            total = tl.where((weight != 0) & own[None, :], weighed, total)
    of_image, of_row, of_col, of_channel = strides(height, width, channels, LAST)
    out = chosen(maps, at) + image * of_image + v * of_row
    tile = out + u[:, None].to(tl.int64) * of_col + c[None, :] * of_channel
    tl.store(tile, total.to(out.dtype.element_ty), (u < width)[:, None] & (c < channels)[None, :])


@triton.jit
def _grad_taps(
    maps, sizes, batch, level, windows, other_taps, other_window, base, base_r, base_k, step, grad, of_r, of_c, of_k,
    out, images, channels, bins, run, out_width, other_width, ROWS: tl.constexpr, LAST: tl.constexpr,
    CELLS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """∂/∂ the taps of one bin on the main axis (rows where ROWS), into its window of out [R, K, out_width]."""
    e = tl.program_id(0).to(tl.int64)
    r, k = e // bins, e % bins
    x, image, height, width, exists = map_of(maps, sizes, batch, level, r, images)
    of_image, of_row, of_col, of_channel = strides(height, width, channels, LAST)
    if ROWS:
        main, other, of_main, of_other = height, width, of_row, of_col
    else:
        main, other, of_main, of_other = width, height, of_col, of_row
    first, stop = span(TAPS, 0, 1, windows, windows, e, 0, tl.minimum(main, out_width))
    left, right = span(TAPS, 0, 1, other_window, other_window, e, 0, other)
    right = tl.where(exists, right, left)
    begin = tl.load(base + r * base_r + k * base_k)
    for v in range(first, stop):
        total = tl.zeros([CELLS, CHANNELS], out.dtype.element_ty)
        for c0 in range(0, run, CHANNELS):
            c = (c0 + tl.arange(0, CHANNELS)).to(tl.int64)
            read = begin + c * step
            there = (c < run) & (read >= 0) & (read < channels)
            g = tl.load(grad + r * of_r + k * of_k + c * of_c, there, 0.0).to(total.dtype)
            for u0 in range(left, right, CELLS):
                u = u0 + tl.arange(0, CELLS)
                tap = tl.load(other_taps + e * other_width + u, u < right, 0.0).to(total.dtype)
                tile = x + image * of_image + v * of_main + u[:, None].to(tl.int64) * of_other
                found = tl.load(tile + read[None, :] * of_channel, (tap != 0)[:, None] & there[None, :], 0.0)
                total = tl.fma(found.to(total.dtype), tap[:, None] * g[None, :], total)
        found = tl.sum(tl.sum(total, 1), 0)
        tl.store(out + e * out_width + v, tl.where(exists, found, float("nan")))


def _blocks(channels: int, last: bool) -> dict[str, int]:
    """The tile of a program: channels side by side where these are neighbours in memory, otherwise cells."""
    most = 64 if last else 32
    return {"CELLS": 4 if last else 8, "CHANNELS": min(most, triton.next_power_of_2(max(channels, 1)))}


def _read(bins: Bins) -> tuple[Any, ...]:
    """Which channels a bin reads, as arguments."""
    return bins.base, *bins.base.stride(), bins.step


def pool(maps: Sequence[Tensor], bins: Bins, last: bool) -> Tensor:
    """[R, run, K] in the maps' dtype, lying as [R, K, run] where ``last``."""
    (count, parts), dtype = bins.base.shape, maps[0].dtype
    shape = (count, parts, bins.run) if last else (count, bins.run, parts)
    out = gpu.empty(shape, gpu.stored(dtype), maps[0].device)
    out = out.transpose(1, 2) if last else out
    said, widths, constants = gpu_axes(bins.own_axes())
    blocks = _blocks(bins.run, last)
    gpu.run(
        _one, (count * parts, triton.cdiv(bins.run, blocks["CHANNELS"])), out, *gpu.per_level(maps, last), bins.batch,
        bins.level, *said, *_read(bins), out, *out.stride(), maps[0].shape[0], maps[0].shape[1], parts, bins.run,
        *widths, warps=1, **constants, LAST=last, SPREAD=False, **blocks,
    )  # fmt: skip
    return out.to(dtype)


def spread(grad: Tensor, bins: Bins, shapes: Sequence[Sequence[int]], last: bool) -> list[Tensor]:
    """One [B, C, H_l, W_l] per level in the type of ``grad`` [R, run, K], channels-last where ``last``."""
    count, parts = bins.base.shape
    images, channels = shapes[0][:2]
    said, widths, constants = gpu_axes(bins.own_axes())
    source, sizes = grad.detach(), gpu.sizes_of(shapes)
    if not gpu.deterministic():
        maps = [m.zero_() for m in gpu.empty_maps(shapes, sum_dtype(grad.dtype), grad.device, last)]
        blocks = _blocks(bins.run, last)
        gpu.run(
            _one, (count * parts, triton.cdiv(bins.run, blocks["CHANNELS"])), grad, tuple(maps), sizes, bins.batch,
            bins.level, *said, *_read(bins), source, *grad.stride(), images, channels, parts, bins.run, *widths,
            warps=1, **constants, LAST=last, SPREAD=True, **blocks,
        )  # fmt: skip
        return [m.to(grad.dtype) for m in maps]
    maps = gpu.empty_maps(shapes, gpu.stored(grad.dtype), grad.device, last)
    windows = gpu.empty((count * parts, 4), torch.int32, grad.device)
    rows, cols, _, row_window, _, col_window = said
    gpu.run(
        _windows, (count * parts,), grad, tuple(maps), sizes, bins.batch, bins.level, rows, cols, row_window,
        col_window, windows, images, parts, warps=1, **constants,
    )  # fmt: skip
    blocks = _blocks(channels, last)
    pieces = sum(s[0] * s[2] * triton.cdiv(s[3], blocks["CELLS"]) for s in shapes)
    gpu.run(
        _gather, (pieces, triton.cdiv(channels, blocks["CHANNELS"])), grad, tuple(maps), sizes,
        *gpu.by_map(bins.batch, bins.level, images, len(shapes)), windows, *said, *_read(bins), source, *grad.stride(),
        images, channels, parts, bins.run, *widths, warps=1, **constants, LAST=last, **blocks, BLOCK=BLOCK,
    )  # fmt: skip
    return [m.to(grad.dtype) for m in maps]


def grad_taps(maps: Sequence[Tensor], other: Tensor, grad: Tensor, bins: Bins, axis: int, width: int) -> Tensor:
    """∂/∂ row taps (axis 0) or column taps (axis 1), [R, K, width], 0 outside their windows; ``other``: the other
    axis' taps."""
    assert bins.axes.windows is not None
    window, other_window = (bins.axes.windows[i] for i in (axis, 1 - axis))
    (count, parts), last = bins.base.shape, is_channels_last(maps[0])
    out = gpu.empty((count, parts, width), sum_dtype(grad.dtype), grad.device).zero_()
    gpu.run(
        _grad_taps, (count * parts,), grad, *gpu.per_level(maps, last), bins.batch, bins.level, window.contiguous(),
        other.detach().contiguous(), other_window.contiguous(), *_read(bins), grad.detach(), *grad.stride(), out,
        maps[0].shape[0], maps[0].shape[1], parts, bins.run, width, other.shape[2], warps=1, ROWS=axis == 0, LAST=last,
        **_blocks(bins.run, last),
    )  # fmt: skip
    return out
