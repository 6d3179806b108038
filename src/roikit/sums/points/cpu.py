"""The four sums on the CPU: how the kernels are told, and how their work is split. Imports Numba."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .. import layout, memory, threads, visiting
from ..maps import sum_dtype
from . import cpu_kernels
from .cpu_kernels import Told
from .where import Samples


def _told(where: Samples) -> Told:
    """The samples as the kernels take them; what does not apply is empty."""
    given = (where.points, where.weights, where.rows, where.cols, where.low)
    kind = memory.NUMPY[next(t.dtype for t in given if t is not None)]
    kinds = ((4, kind), (3, kind), (4, kind), (4, kind), (4, np.int32))
    arrays = []
    for tensor, (dims, dtype) in zip(given, kinds, strict=True):
        if tensor is None:
            arrays.append(np.empty((0,) * dims, dtype))
        else:
            arrays.append(np.ascontiguousarray(tensor.detach().numpy()))
    return Told(where.low is not None, *arrays)


def _visits(where: Samples, levels: int) -> list[np.ndarray]:
    """The RoIs of each level, in the order in which they are best read."""
    y = x = None
    if where.points is not None and where.points.shape[1] and where.points.shape[2]:
        y, x = where.points.detach()[:, where.points.shape[1] // 2, 0].numpy().T
    return visiting.visits(where.batch.numpy(), where.level.numpy(), levels, y, x)


def pool(maps: Sequence[Tensor], where: Samples, last: bool) -> Tensor:
    """[R, C, K] in the maps' dtype, lying as [R, K, C] where ``last``."""
    (count, channels, bins), dtype = where.shape(maps[0].shape[1]), maps[0].dtype
    out = memory.empty((count, bins, channels) if last else (count, channels, bins), dtype)
    sums, told = np.empty(0, memory.NUMPY[sum_dtype(dtype)]), _told(where)
    for x, order in zip(maps, _visits(where, len(maps)), strict=True):
        if len(order):
            given = (layout.last_numbers(x), where.batch.numpy(), told, sums, last, memory.streamed(out))
            threads.split(cpu_kernels.pool, len(order), order, *given, layout.numbers(out), grain=4)
    return out.transpose(1, 2) if last else out


def spread(grad: Tensor, where: Samples, shapes: Sequence[Sequence[int]], last: bool) -> list[Tensor]:
    """One [B, C, H_l, W_l] per level in the type of ``grad`` [R, C, K], channels-last where ``last``."""
    wide, told = sum_dtype(grad.dtype), _told(where)
    source = grad.detach().to(wide).transpose(1, 2).contiguous().numpy()
    form = torch.channels_last if last else torch.contiguous_format
    maps = []
    for at, (images, channels, height, width) in enumerate(shapes):
        out = memory.empty((images, height, width, channels), wide)
        block = min(channels, cpu_kernels.BLOCK)
        given = (source, where.batch.numpy(), where.level.numpy(), at, told, block, out.numpy())
        threads.split(cpu_kernels.spread, images * -(-channels // block), *given)
        maps.append(out.permute(0, 3, 1, 2).to(grad.dtype).contiguous(memory_format=form))
    return maps


def grad_taps(maps: Sequence[Tensor], other: Tensor, grad: Tensor, where: Samples, axis: int, width: int) -> Tensor:
    """∂/∂ row taps (axis 0) or column taps (axis 1), [R, K, P, 2]."""
    assert where.low is not None
    wide = sum_dtype(grad.dtype)
    out = memory.empty(other.shape, wide)
    upstream = grad.detach().to(wide).transpose(1, 2).contiguous().numpy()
    arrays = [np.ascontiguousarray(t.detach().numpy()) for t in (other, where.low)]
    for at, x in enumerate(maps):
        given = (layout.last_numbers(x.to(wide)), upstream, where.batch.numpy(), where.level.numpy(), at, axis)
        threads.split(cpu_kernels.grad_taps, grad.shape[0], *given, *arrays, out.numpy(), grain=2)
    return out
