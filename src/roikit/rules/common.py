"""What several rules share."""

from __future__ import annotations

import torch
from torch import Tensor


def edges(lo: Tensor, size: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """lo [R, 1], β [R, 1], iβ and (i+1)β [R, bins], in the boxes' dtype and in torchvision's order of operations."""
    beta = (size / bins)[:, None]
    steps = torch.arange(bins + 1, device=lo.device).to(lo.dtype)
    return lo[:, None], beta, steps[:-1] * beta, steps[1:] * beta


def per_roi(cells: int | Tensor, like: Tensor) -> Tensor:
    """The number of cells as a float tensor that broadcasts over [R, bins]."""
    if isinstance(cells, Tensor):
        return cells.to(like.dtype)[:, None]
    return torch.full((1, 1), cells, dtype=like.dtype, device=like.device)


def clip_window(first: Tensor, stop: Tensor, cells: Tensor) -> Tensor:
    """[R, bins, 2] int32 windows inside the axis; a NaN box keeps the first cell, so that its NaN is seen."""
    first = torch.minimum(first.nan_to_num(0.0).clamp(min=0), cells)
    stop = torch.minimum(stop.nan_to_num(1.0).clamp(min=0), cells)
    return torch.stack([first, torch.maximum(first, stop)], -1).to(torch.int32)


def mean_of_window(window: Tensor, width: int, lo: Tensor) -> Tensor:
    """Equal weights over a window: 1/n at each of its n cells, [R, bins, width]; NaN where ``lo`` [R, 1] is."""
    cell = torch.arange(width, device=window.device)
    first, stop = window[..., :1], window[..., 1:]
    inside = (cell >= first) & (cell < stop)
    return inside.to(lo.dtype) / (stop - first).clamp(min=1).to(lo.dtype) + (lo * 0)[..., None]
