"""The four sums on the CPU: which kernel runs over what, and how its work is split. Imports Numba."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .. import layout, memory, threads, visiting
from ..entries import sides
from ..maps import sum_dtype
from . import cpu_last, cpu_planes
from .where import Bins

TURNING = 128  # numbers of a map that are turned in the time that a number of the output takes longer where it is not


def _visits(where: Bins, levels: int) -> list[np.ndarray]:
    """The RoIs of each level, in the order in which they are best read."""
    y = x = None
    if where.axes.windows is None and where.base.shape[1]:
        y, x = (axis.detach()[:, axis.shape[1] // 2, 0].numpy() for axis in (where.axes.rows, where.axes.cols))
    return visiting.visits(where.batch.numpy(), where.level.numpy(), levels, y, x)


def _by_bin(grad: Tensor) -> np.ndarray:
    """[R, run, K] as a contiguous [R, K, run] array in the type of the sums."""
    return layout.channels_last(grad[..., None])[:, :, 0]


def pool(maps: Sequence[Tensor], where: Bins, last: bool) -> Tensor:
    """[R, run, K] in the maps' dtype, lying as [R, K, run] where ``last``."""
    (count, parts), dtype = where.base.shape, maps[0].dtype
    out = memory.empty((count, parts, where.run) if last else (count, where.run, parts), dtype)
    base, target = where.channels().numpy(), layout.numbers(out)
    sums = np.empty(0, memory.NUMPY[sum_dtype(dtype)])
    for x, order in zip(maps, _visits(where, len(maps)), strict=True):
        if not len(order):
            continue
        told = (where.batch.numpy(), *sides(where.axes, x.shape[2:], 3), sums, base, where.step)
        if not last and len(order) * parts * where.run * TURNING < x.numel():
            threads.split(cpu_planes.pool, parts, order, layout.numbers(x), *told, target)
        else:
            source, layouts = layout.last_numbers(x), (last, memory.streamed(out))
            threads.split(cpu_last.pool, len(order), order, source, *told, *layouts, target, grain=16)
    return out.transpose(1, 2) if last else out


def spread(grad: Tensor, where: Bins, shapes: Sequence[Sequence[int]], last: bool) -> list[Tensor]:
    """One [B, C, H_l, W_l] per level in the type of ``grad`` [R, run, K], channels-last where ``last``."""
    dtype, wide, source = grad.dtype, sum_dtype(grad.dtype), _by_bin(grad)
    base = where.channels().numpy()
    form = torch.channels_last if last else torch.contiguous_format
    maps = []
    for at, (images, channels, height, width) in enumerate(shapes):
        out = memory.empty((images, height, width, channels), wide)
        part = channels // where.step
        block = min(part, cpu_last.BLOCK)
        told = (source, where.batch.numpy(), where.level.numpy(), at, *sides(where.axes, (height, width), 3), base)
        threads.split(cpu_last.spread, images * -(-part // block), *told, where.step, block, out.numpy())
        ordered = out.unflatten(3, (where.step, part)).permute(0, 4, 3, 1, 2).flatten(1, 2)
        maps.append(ordered.to(dtype).contiguous(memory_format=form))
    return maps


def grad_taps(maps: Sequence[Tensor], other: Tensor, grad: Tensor, where: Bins, axis: int, width: int) -> Tensor:
    """∂/∂ row taps (axis 0) or column taps (axis 1), [R, K, width], 0 outside their windows."""
    assert where.axes.windows is not None
    out = torch.zeros(where.taps_shape(axis, width), dtype=sum_dtype(grad.dtype))
    upstream, base = _by_bin(grad), where.channels().numpy()
    window = np.ascontiguousarray(where.axes.windows[axis].numpy())
    for at, x in enumerate(maps):
        images, channels, height, across = x.shape
        source = _by_step(x, where.step).reshape(images, height * across * channels)
        strides = (across * channels, channels) if axis == 0 else (channels, across * channels)
        cells, limit = (across, height) if axis == 0 else (height, across)
        mine = np.clip(window, 0, limit)  # taps made for several levels are as wide as the widest map
        side = sides(where.axes, (cells, cells), 3)[1 - axis]
        told = (source, *strides, cells, upstream, where.batch.numpy(), where.level.numpy(), at, mine, side, cells + 2)
        threads.split(
            cpu_last.grad_main, grad.shape[0], *told, base, where.step, channels // where.step, out.numpy(), grain=2
        )  # fmt: skip
    return out


def _by_step(x: Tensor, step: int) -> np.ndarray:
    """[B, C, H, W] as contiguous [B, H, W, C] with channels ordered by (c mod step, c div step)."""
    if step == 1:
        return layout.channels_last(x)
    grouped = x.unflatten(1, (x.shape[1] // step, step)).transpose(1, 2).flatten(1, 2)
    return layout.channels_last(grouped)
