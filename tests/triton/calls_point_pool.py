"""Calls that launch every kernel of ``ops/point_pool``, for ``compile_kernels.py``."""

from __future__ import annotations

import torch

from roikit.ops.point_pool.sums import PointSums, points_and_weights, taps_and_cells

SIZES = ((20, 30), (10, 15))


def make(dtype: torch.dtype) -> None:
    at_points, at_taps = PointSums(points_and_weights), PointSums(taps_and_cells)
    kind = torch.float64 if dtype == torch.float64 else torch.float32
    batch, level = torch.tensor([0, 0, 0]), torch.tensor([0, 1, 0])
    points, weights = torch.rand(3, 49, 4, 2, dtype=kind), torch.rand(3, 49, 4, dtype=kind)
    low, one = torch.zeros(3, 49, 4, 2).int(), points[:, :1, :1].contiguous()
    last = dtype != torch.float16  # each type in one layout: what differs is which threads are neighbours
    for channels in (256, 1) if dtype == torch.float32 else (64,):
        form = torch.channels_last if last else torch.contiguous_format
        maps = [torch.empty(1, channels, *size, dtype=dtype).contiguous(memory_format=form) for size in SIZES]
        shapes, grad = [list(x.shape) for x in maps], torch.empty(3, channels, 49, dtype=dtype)
        at_points.pool(maps, (), (batch, level, points, weights), [2])
        at_taps.pool(maps[:1], (points, points), (batch, 0 * level, low), [2])
        at_taps.pool(maps[:1], (one, one), (batch, 0 * level, low[:, :1, :1].contiguous()), [2])
        at_taps.grad_taps(maps, points, grad, (batch, level, low), [2], 0, 30)
        at_taps.grad_taps(maps, points, grad, (batch, level, low), [2], 1, 30)
        at_points.spread(grad, (), (batch, level, points, weights), [2], shapes, last)
        at_taps.spread(grad, (points, points), (batch, level, low), [2], shapes, last)
        torch.use_deterministic_algorithms(True)
        at_points.spread(grad, (), (batch, level, points, weights), [2], shapes, last)
        torch.use_deterministic_algorithms(False)
