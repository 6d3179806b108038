"""Calls that launch every kernel of ``sums/points``, for ``compile_kernels.py``."""

from __future__ import annotations

import torch

from roikit.sums.points import gpu
from roikit.sums.points.where import Samples

SIZES = ((20, 30), (10, 15))


def make(dtype: torch.dtype) -> None:
    kind = torch.float64 if dtype == torch.float64 else torch.float32
    batch, level = torch.tensor([0, 0, 0]), torch.tensor([0, 1, 0])
    points, weights = torch.rand(3, 49, 4, 2, dtype=kind), torch.rand(3, 49, 4, dtype=kind)
    low, one = torch.zeros(3, 49, 4, 2).int(), points[:, :1, :1].contiguous()
    last = dtype != torch.float16  # each type in one layout: what differs is which threads are neighbours
    for channels in (256, 1) if dtype == torch.float32 else (64,):
        form = torch.channels_last if last else torch.contiguous_format
        maps = [torch.empty(1, channels, *size, dtype=dtype).contiguous(memory_format=form) for size in SIZES]
        shapes, grad = [list(x.shape) for x in maps], torch.empty(3, channels, 49, dtype=dtype)
        at_points = Samples(batch, level, points=points, weights=weights)
        at_taps = Samples(batch, level, rows=points, cols=points, low=low)
        of_one = Samples(batch, 0 * level, rows=one, cols=one, low=low[:, :1, :1].contiguous())
        gpu.pool(maps, at_points, last)
        gpu.pool(maps[:1], Samples(batch, 0 * level, rows=points, cols=points, low=low), last)
        gpu.pool(maps[:1], of_one, last)
        gpu.grad_taps(maps, points, grad, at_taps, 0, 30)
        gpu.grad_taps(maps, points, grad, at_taps, 1, 30)
        gpu.spread(grad, at_points, shapes, last)
        gpu.spread(grad, at_taps, shapes, last)
        torch.use_deterministic_algorithms(True)
        gpu.spread(grad, at_points, shapes, last)
        torch.use_deterministic_algorithms(False)
