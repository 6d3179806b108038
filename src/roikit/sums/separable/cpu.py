"""The four sums on the CPU: which kernel runs over what, and how its work is split. Imports Numba."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .. import layout, memory, threads, visiting
from ..entries import sides
from ..maps import is_channels_last, sum_dtype
from . import cpu_gradients, cpu_last, cpu_planes
from .where import Grid


def _visits(where: Grid, levels: int) -> list[np.ndarray]:
    """The RoIs of each level, in the order in which they are best read."""
    y = x = None
    if where.axes.windows is None and where.level.shape[0] >= visiting.MANY:
        y, x = ((axis[:, 0] + axis[:, 1] / 2).detach().numpy() for axis in (where.axes.rows, where.axes.cols))
    return visiting.visits(where.batch.numpy(), where.level.numpy(), levels, y, x)


def pool(maps: Sequence[Tensor], where: Grid, last: bool) -> Tensor:
    """[R, C, h, w] in the maps' dtype and layout."""
    (count, channels, h, w), dtype = where.shape(maps[0].shape[1]), maps[0].dtype
    out = memory.empty((count, h, w, channels) if last else (count, channels, h, w), dtype)
    sums, target, batch = np.empty(0, memory.NUMPY[sum_dtype(dtype)]), layout.numbers(out), where.batch.numpy()
    for x, order in zip(maps, _visits(where, len(maps)), strict=True):
        if not len(order):
            continue
        told = (batch, *sides(where.axes, x.shape[2:], 2), sums)
        if not last and len(order) * visiting.TURNING < x.shape[0] * x.shape[2] * x.shape[3]:
            threads.split(cpu_planes.pool, len(order), order, layout.numbers(x), *told, target, grain=8)
        else:
            source, layouts = layout.last_numbers(x), (last, memory.streamed(out))
            threads.split(cpu_last.pool, len(order), order, source, *told, *layouts, target, grain=16)
    return out.permute(0, 3, 1, 2) if last else out


def spread(grad: Tensor, where: Grid, shapes: Sequence[Sequence[int]], last: bool) -> list[Tensor]:
    """One [B, C, H_l, W_l] per level in the gradient's dtype, channels-last where ``last``."""
    grad_last = is_channels_last(grad)
    source = layout.last_numbers(grad) if grad_last else layout.numbers(grad)
    batch, sums = where.batch.numpy(), np.empty(0, memory.NUMPY[sum_dtype(grad.dtype)])
    maps = []
    for (images, channels, height, width), order in zip(shapes, _visits(where, len(shapes)), strict=True):
        out = memory.empty((images, height, width, channels) if last else (images, channels, height, width), grad.dtype)
        block = min(channels, cpu_gradients.SPREAD_BLOCK)
        told = (order, source, batch, *sides(where.axes, (height, width), 2), block, sums, grad_last, last)
        threads.split(cpu_gradients.spread, images * -(-channels // block), *told, layout.numbers(out))
        maps.append(out.permute(0, 3, 1, 2) if last else out)
    return maps


def grad_taps(maps: Sequence[Tensor], other: Tensor, grad: Tensor, where: Grid, axis: int, width: int) -> Tensor:
    """∂/∂ row taps (axis 0) or column taps (axis 1), [R, bins, width], 0 outside their windows."""
    assert where.axes.windows is not None
    wide = sum_dtype(maps[0].dtype)
    out = torch.zeros(where.taps_shape(axis, width), dtype=wide)
    order = (0, 2, 3, 1) if axis == 0 else (0, 3, 2, 1)
    upstream = grad.detach().to(wide).permute(order).contiguous().numpy()
    window = np.ascontiguousarray(where.axes.windows[axis].numpy())
    for at, x in enumerate(maps):
        images, channels, height, across = x.shape
        source = layout.channels_last(x).reshape(images, -1)
        strides = (across * channels, channels) if axis == 0 else (channels, across * channels)
        cells, limit = (across, height) if axis == 0 else (height, across)
        mine = np.clip(window, 0, limit)  # taps made for several levels are as wide as the widest map
        side = sides(where.axes, (cells, cells), 2)[1 - axis]
        told = (source, *strides, cells, upstream, where.batch.numpy(), where.level.numpy(), at)
        threads.split(
            cpu_gradients.grad_main, grad.shape[0], *told, mine, side, cells + 2, out.numpy(), grain=2
        )  # fmt: skip
    return out
