"""The GPU kernels (Triton) of max pooling. All levels are in one launch; values and winners are [R, C, h·w]."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .. import gpu, indices, sorted_sums
from ..gpu import everywhere, map_of, strides
from ..maps import cells_of, is_channels_last, laid, sum_dtype
from .where import Chosen

BLOCK = 1024  # values of a program that gathers or scatters


@triton.jit
def _select(
    maps, sizes, images, batch, level, row_window, col_window, values, index, channels, h, w,
    KIND: tl.constexpr, LAST: tl.constexpr, BINS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """A tile is [BINS, CHANNELS]: threads are neighbours on the bins, or on the channels where maps lie so (LAST)."""
    r = tl.program_id(0).to(tl.int64)
    k = tl.program_id(1) * BINS + tl.arange(0, BINS)
    c = (tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)).to(tl.int64)
    if LAST:
        k, c = k[:, None], c[None, :]
    else:
        k, c = k[None, :], c[:, None]
    here, there = k < h * w, c < channels
    x, image, height, width, known = map_of(maps, sizes, batch, level, r, images)
    step_b, _, step_u, step_c = strides(height, width, channels, LAST)
    x += image * step_b
    i, j = k // w, k % w
    v0, v1 = tl.load(row_window + (r * h + i) * 2, here, 0), tl.load(row_window + (r * h + i) * 2 + 1, here, 0)
    u0, u1 = tl.load(col_window + (r * w + j) * 2, here, 0), tl.load(col_window + (r * w + j) * 2 + 1, here, 0)
    no_number = (v0 < 0) | (everywhere(known, v0) == 0)
    u0 = tl.maximum(u0, 0)
    down, across = tl.minimum(v1, height) - v0, tl.minimum(u1, width) - u0
    some = here & (no_number == 0) & (down > 0) & (across > 0)
    down, across = tl.where(some, down, 0), tl.where(some, across, 0)
    first = v0.to(tl.int64) * width + u0
    source = x + first * step_u + c * step_c
    best = tl.full([BINS, CHANNELS] if LAST else [CHANNELS, BINS], -float("inf"), KIND)
    which = tl.zeros([BINS, CHANNELS] if LAST else [CHANNELS, BINS], tl.int32) + first.to(tl.int32)
    for dv in range(tl.max(down)):
        for du in range(tl.max(across)):
            step = dv * width + du
            read = (dv < down) & (du < across) & there
            value = tl.load(source + step.to(tl.int64) * step_u, read, -float("inf")).to(KIND)
            wins = value > best  # never a NaN, and of equal ones the first
            best = tl.where(wins, value, best)
            which = tl.where(wins, first.to(tl.int32) + step, which)
    # A bin of nothing but NaN or -∞ keeps its first cell, and its value.
    kept = tl.load(source, some & there & (best == -float("inf")), 0.0).to(KIND)
    best = tl.where(best == -float("inf"), kept, best)
    best = tl.where(no_number, float("nan"), tl.where(some, best, 0.0))
    which = tl.where(no_number, -2, tl.where(some, which, -1))
    to = (r * channels + c) * (h * w) + k
    tl.store(values + to, best.to(values.dtype.element_ty), here & there)
    tl.store(index + to, which, here & there)


@triton.jit
def _gather(maps, sizes, images, batch, level, index, out, channels, bins, LAST: tl.constexpr, BLOCK: tl.constexpr):
    r = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    x, image, height, width, known = map_of(maps, sizes, batch, level, r, images)
    step_b, _, step_u, step_c = strides(height, width, channels, LAST)
    x += image * step_b
    here = n < channels * bins
    cell = tl.load(index + r * channels * bins + n, here, -1)
    known = everywhere(known, cell)
    chose = (cell >= 0) & (cell < height * width) & known
    source = x + (n // bins).to(tl.int64) * step_c + cell.to(tl.int64) * step_u
    value = tl.where(chose, tl.load(source, chose & here, 0.0), tl.where((cell == -1) & known, 0.0, float("nan")))
    tl.store(out + r * channels * bins + n, value.to(out.dtype.element_ty), here)


@triton.jit
def _scatter(maps, sizes, images, batch, level, index, grad, channels, bins, BLOCK: tl.constexpr):
    r = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    x, image, height, width, known = map_of(maps, sizes, batch, level, r, images)
    step_b, _, step_u, step_c = strides(height, width, channels, False)
    x += image * step_b
    here = n < channels * bins
    cell = tl.load(index + r * channels * bins + n, here, -1)
    g = tl.load(grad + r * channels * bins + n, here, 0.0).to(x.dtype.element_ty)
    to = x + (n // bins).to(tl.int64) * step_c + cell.to(tl.int64) * step_u
    chose = (cell >= 0) & (cell < height * width) & everywhere(known, cell)
    tl.atomic_add(to, g, here & chose, sem="relaxed")


def select(
    maps: Sequence[Tensor], batch: Tensor, level: Tensor, row_window: Tensor, col_window: Tensor
) -> tuple[Tensor, Tensor]:
    """Values and winners, [R, C, h, w] each."""
    dtype, channels, last = maps[0].dtype, maps[0].shape[1], is_channels_last(maps[0])
    count, h, w = batch.shape[0], row_window.shape[1], col_window.shape[1]
    values = gpu.empty((count, channels, h, w), gpu.stored(dtype), batch.device)
    index = gpu.empty((count, channels, h, w), torch.int32, batch.device)
    sources, sizes = gpu.per_level(maps, last)
    bins = min(triton.next_power_of_2(h * w), 8 if last else 64)
    across = min(triton.next_power_of_2(channels), 512 // bins, 64)
    gpu.run(
        _select, (count, triton.cdiv(h * w, bins), triton.cdiv(channels, across)), values, sources, sizes,
        maps[0].shape[0], batch, level, row_window.contiguous(), col_window.contiguous(), values, index, channels, h, w,
        KIND=tl.float64 if dtype == torch.float64 else tl.float32, LAST=last, BINS=bins, CHANNELS=across,
    )  # fmt: skip
    return values.to(dtype), index


def _programs(index: Tensor) -> tuple[int, int]:
    return index.shape[0], triton.cdiv(math.prod(index.shape[1:]), BLOCK)


def pool(maps: Sequence[Tensor], where: Chosen, last: bool) -> Tensor:
    """The features at given cells; NaN for a cell that is not there."""
    index = where.index
    sources, sizes = gpu.per_level(maps, last)
    out = gpu.empty(index.shape, maps[0].dtype, index.device)
    gpu.run(
        _gather, _programs(index), out, sources, sizes, maps[0].shape[0], where.batch, where.level, index.contiguous(),
        out, index.shape[1], math.prod(index.shape[2:]), LAST=last, BLOCK=BLOCK,
    )  # fmt: skip
    return laid(out, last)


def spread(grad: Tensor, where: Chosen, shapes: Sequence[Sequence[int]], last: bool) -> list[Tensor]:
    """The transpose of ``pool``."""
    form = torch.channels_last if last else torch.contiguous_format
    return [x.contiguous(memory_format=form) for x in _scattered(grad, where, shapes)]


def _scattered(grad: Tensor, where: Chosen, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    index, batch, level, kind = where.index, where.batch, where.level, sum_dtype(grad.dtype)
    if gpu.deterministic():
        return _scatter_in_order(grad, index, batch, level, shapes, kind)
    maps = [m.zero_() for m in gpu.empty_maps(shapes, kind, grad.device, False)]
    gpu.run(
        _scatter, _programs(index), grad, tuple(maps), gpu.sizes_of(shapes), shapes[0][0], batch, level,
        index.contiguous(), grad.detach().contiguous(), index.shape[1], math.prod(index.shape[2:]), BLOCK=BLOCK,
    )  # fmt: skip
    return [m.to(grad.dtype) for m in maps]


def _scatter_in_order(grad, index, batch, level, shapes, kind):
    """Every channel of every image is a map of its own, with one channel."""
    planes = [[s[0] * s[1], 1, *s[2:]] for s in shapes]
    level, batch = level[:, None, None], batch[:, None, None]
    height, width = cells_of(shapes, level)
    cell, channel = index.flatten(2).long(), torch.arange(index.shape[1], device=index.device)[:, None]
    on_map = indices.known(batch, level, shapes[0][0], len(shapes)) & (cell >= 0) & (cell < height * width)
    cell = (batch * index.shape[1] + channel) * (height * width) + cell
    number = sorted_sums.numbers(torch.where(on_map, cell, 0), torch.where(on_map, level, -1), planes)
    values = grad.detach().to(kind).reshape(-1, 1)
    found = sorted_sums.add_up(values, None, number.flatten(), planes, grad.dtype, False)
    return [x.reshape(list(s)) for x, s in zip(found, shapes, strict=True)]
