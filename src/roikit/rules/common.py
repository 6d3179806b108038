"""What several rules share."""

from __future__ import annotations

import torch
from torch import Tensor


def floor(x: Tensor) -> Tensor:
    """⌊x⌋. torch's own is made by its threads from 2,048 numbers on, which then stay on the cores, waiting for more: a
    kernel of this library that follows takes up to twice as long."""
    return torch.div(x, 1, rounding_mode="floor")


def ceil(x: Tensor) -> Tensor:
    return -floor(-x)


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


def interpolated(at: Tensor, share: Tensor, cells: Tensor, width: int) -> Tensor:
    """Bilinear samples as taps [R, bins, width]: samples ``at`` [R, bins, S] are moved onto [0, N - 1] and weigh
    ``share`` each; ``cells``: N, [R or 1, 1]."""
    last = cells[..., None] - 1
    at = torch.minimum(at.clamp(min=0), last)
    low = torch.floor(at.detach()).nan_to_num(0.0)
    part = at - low
    low = torch.minimum(low.clamp(min=0), last).to(torch.int64)
    high = torch.minimum(low + 1, last.to(torch.int64))
    out = torch.zeros((*at.shape[:2], width), dtype=at.dtype, device=at.device)
    return out.scatter_add(-1, low, share * (1 - part)).scatter_add(-1, high, share * part)


def window_of_samples(near: Tensor, far: Tensor, cells: Tensor) -> Tensor:
    """The windows of bilinear samples from ``near`` to ``far`` [R, bins]; with one cell at least."""
    first = torch.minimum(torch.floor(torch.minimum(near, far).detach()).clamp(min=0), cells - 1)
    stop = torch.floor(torch.maximum(near, far).detach()) + 2
    return clip_window(first, torch.maximum(stop, first + 1), cells)


def mean_of_hat(p: Tensor, beta: Tensor) -> Tensor:
    """(1/β) ∫ g(t) dt over [p, p + β], g(t) = max(0, 1 - |t|), in a form in which nothing cancels for a small β."""
    s0, s1, s2 = (((kink - p) / beta).clamp(0, 1) for kink in (-1, 0, 1))
    return (s1 - s0) * (1 + p + beta * (s0 + s1) / 2) + (s2 - s1) * (1 - p - beta * (s1 + s2) / 2)


def mean_of_window(window: Tensor, width: int, lo: Tensor) -> Tensor:
    """Equal weights over a window: 1/n at each of its n cells, [R, bins, width]; NaN where ``lo`` [R, 1] is."""
    cell = torch.arange(width, device=window.device)
    first, stop = window[..., :1], window[..., 1:]
    inside = (cell >= first) & (cell < stop)
    return inside.to(lo.dtype) / (stop - first).clamp(min=1).to(lo.dtype) + (lo * 0)[..., None]
