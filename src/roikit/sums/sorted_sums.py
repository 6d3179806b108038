"""Adding rows of numbers to cells of maps in a certain order (Triton): contributions sorted by cell, no atomics.

Slower than atomics, but the same bits in every run. Memory: a few numbers for each contribution, whatever the channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import gpu
from .gpu import height_of, width_of

TILE, CHANNELS = 512, 128  # cells × channels of a program; channels at most


@triton.jit
def _add_up(
    order, start, weights, values, each, maps, sizes, images, channels,
    WEIGHTED: tl.constexpr, LAST: tl.constexpr, CELLS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Each cell of each map is the sum of its contributions; contribution e is weights[e] · values[e // each]."""
    block = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    first = tl.zeros([], tl.int64)
    begin, out, size = first, maps[0], sizes[0]
    for i in tl.static_range(len(maps)):
        begin = tl.where(block >= first, first, begin)
        out = tl.where(block >= first, maps[i], out)
        size = tl.where(block >= first, sizes[i], size)
        first += tl.cdiv(height_of(sizes[i]).to(tl.int64) * width_of(sizes[i]) * images, CELLS)
    pixels = height_of(size).to(tl.int64) * width_of(size)
    cell = (block - begin) * CELLS + tl.arange(0, CELLS)
    on_map = cell < pixels * images
    number = block * CELLS + tl.arange(0, CELLS)
    at, stop = tl.load(start + number), tl.load(start + number + 1)
    kind: tl.constexpr = values.dtype.element_ty
    total = tl.zeros([CELLS, CHANNELS], kind)
    for i in range(tl.max(stop - at, 0)):
        here = at + i < stop
        entry = tl.load(order + at + i, here, 0)
        source = values + (entry // each * channels)[:, None] + c[None, :]
        found = tl.load(source, here[:, None] & (c < channels)[None, :], 0.0)
        if WEIGHTED:
            w = tl.load(weights + entry, here, 0.0)
            total = tl.fma(tl.broadcast_to(w[:, None], [CELLS, CHANNELS]), found, total)
        else:
            total += found
    if LAST:
        to = (cell * channels)[:, None] + c[None, :]
    else:
        image = cell // pixels
        to = (image * channels * pixels + (cell - image * pixels))[:, None] + (c.to(tl.int64) * pixels)[None, :]
    tl.store(out + to, total.to(out.dtype.element_ty), on_map[:, None] & (c < channels)[None, :])


def _tile(shapes: Sequence[Sequence[int]]) -> tuple[int, int]:
    """How many cells and channels a program adds up."""
    channels = min(triton.next_power_of_2(shapes[0][1]), CHANNELS)
    return TILE // channels, channels


def _first(shapes: Sequence[Sequence[int]]) -> list[int]:
    """The number of each level's first cell, and of none: a program's cells are of one level."""
    step, first = _tile(shapes)[0], [0]
    for images, _, height, width in shapes:
        first.append(first[-1] + -(-images * height * width // step) * step)
    return first


def numbers(cells: Tensor, level: Tensor, shapes: Sequence[Sequence[int]]) -> Tensor:
    """Cells (b · H + v) · W + u of their levels as numbers among the cells of all levels.

    Args:
        cells: int64, of any shape.
        level: int64, broadcast with it; -1 for a contribution that counts nowhere.
        shapes: [B, C, H, W] of each level.
    """
    *first, count = _first(shapes)
    found = torch.full_like(cells, count)
    for at, begin in enumerate(first):
        found = torch.where(level == at, cells + begin, found)
    return found.to(torch.int32) if count < 2**31 else found  # half of what is sorted


def add_up(
    values: Tensor,
    weights: Tensor | None,
    number: Tensor,
    shapes: Sequence[Sequence[int]],
    dtype: torch.dtype,
    last: bool,
) -> list[Tensor]:
    """Maps [B, C, H_l, W_l] with, in each cell, the sum of weights[e] · values[row of e] over its contributions e.

    Args:
        values: ``Tensor[N, C]``, in the type that sums are made in.
        weights: ``Tensor[N · M]``: M contributions of each row, in the rows' order; ``None``: 1.
        number: ``Tensor[N · M]``: the cell of each contribution, of ``numbers``.
        shapes: [B, C, H, W] of each level.
        dtype, last: of the maps.
    """
    count, channels = _first(shapes)[-1], shapes[0][1]
    step, across = _tile(shapes)
    maps = gpu.empty_maps(shapes, gpu.stored(dtype), values.device, last)
    if not number.numel():
        return [m.zero_().to(dtype) for m in maps]
    key, order = torch.sort(number, stable=True)
    start = torch.searchsorted(key, torch.arange(count + 1, device=key.device, dtype=key.dtype))
    gpu.run(
        _add_up, (count // step, triton.cdiv(channels, across)), values, order, start, weights, values.contiguous(),
        number.numel() // values.shape[0], tuple(maps), gpu.sizes_of(shapes), shapes[0][0], channels,
        WEIGHTED=weights is not None, LAST=last, CELLS=step, CHANNELS=across,
    )  # fmt: skip
    return [m.to(dtype) for m in maps]
