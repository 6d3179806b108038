"""Choosing cells, reading and spreading on the CPU: how the kernels' work is split. Imports Numba."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .. import layout, memory, threads, visiting
from ..maps import is_channels_last, laid, sum_dtype
from . import cpu_kernels
from .where import Chosen

SCATTER_BLOCK = 4  # channels of a backward task: their maps stay in the first caches


def select(
    maps: Sequence[Tensor], batch: Tensor, level: Tensor, row_window: Tensor, col_window: Tensor
) -> tuple[Tensor, Tensor]:
    """Values and winners, [R, C, h, w] each."""
    count, channels, dtype = batch.shape[0], maps[0].shape[1], maps[0].dtype
    shape = (count, channels, row_window.shape[1], col_window.shape[1])
    values, index = memory.empty(shape, dtype), memory.empty(shape, torch.int32)
    if not values.numel():
        return values, index
    windows = [np.ascontiguousarray(t.numpy()) for t in (row_window, col_window)]
    y, x = (window[:, window.shape[1] // 2, 0] for window in windows)
    told = (batch.numpy(), *windows, np.empty(0, memory.NUMPY[sum_dtype(dtype)]))
    into = (layout.numbers(values.flatten(2)), index.flatten(2).numpy())
    for at, order in zip(maps, visiting.visits(batch.numpy(), level.numpy(), len(maps), y, x), strict=True):
        if not len(order):
            continue
        if not is_channels_last(at) and len(order) * visiting.TURNING < at.shape[0] * at.shape[2] * at.shape[3]:
            source = layout.numbers(at)
            threads.split(cpu_kernels.select_planes, len(order) * channels, order, source, *told, *into, grain=16)
        else:
            told_ = (layout.last_numbers(at), *told, memory.streamed(index), *into)
            threads.split(cpu_kernels.select, len(order), order, *told_, grain=8)
    return values, index


def pool(maps: Sequence[Tensor], where: Chosen, last: bool) -> Tensor:
    """The features at the chosen cells, in the maps' dtype."""
    dtype = maps[0].dtype
    out = memory.empty(where.index.shape, sum_dtype(dtype))
    cells, into = where.index.contiguous().flatten(2).numpy(), out.flatten(2).numpy()
    told = (where.batch.numpy(), where.level.numpy())
    for at, x in enumerate(maps):
        source = x.detach().to(sum_dtype(dtype)).contiguous().flatten(2).numpy()
        threads.split(cpu_kernels.gather, len(cells), source, *told, at, cells, into, grain=4)
    out = out if out.dtype == dtype else out.to(dtype)
    return laid(out, last)


def spread(grad: Tensor, where: Chosen, shapes: Sequence[Sequence[int]], last: bool) -> list[Tensor]:
    """The transpose of ``pool``: one [B, C, H_l, W_l] per level."""
    wide, cells = sum_dtype(grad.dtype), where.index.contiguous().flatten(2).numpy()
    upstream = layout.by_channel(grad)
    form = torch.channels_last if last else torch.contiguous_format
    maps = []
    for at, shape in enumerate(shapes):
        out = memory.empty(shape, wide)
        pairs = shape[0] * -(-shape[1] // SCATTER_BLOCK)
        told = (upstream, where.batch.numpy(), where.level.numpy(), at, cells, SCATTER_BLOCK, out.flatten(2).numpy())
        threads.split(cpu_kernels.scatter, pairs, *told)
        maps.append(out.to(grad.dtype).contiguous(memory_format=form))
    return maps
