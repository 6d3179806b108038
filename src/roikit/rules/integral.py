"""The exact mean of the bilinear interpolant over a bin: Precise RoI Pooling (Jiang et al. 2018).

    tap_i(u) = (1/β) ∫ g(u - t) dt  over  [lo + iβ, lo + (i+1)β],   zero outside the map;  β ≤ 0 gives 0

The difference of two antiderivatives cancels in float32 for small bins; this form does not: with p = lo + iβ - u,
s0, s1, s2 = clip((-1-p)/β, 0, 1), clip(-p/β, 0, 1), clip((1-p)/β, 0, 1),

    tap = (s1 - s0)(1 + p + β(s0 + s1)/2) + (s2 - s1)(1 - p - β(s1 + s2)/2)

Exactly differentiable in lo and size. A bin narrower than ``LEAST`` cells counts as one of no size: 1/β³, which the
second derivative needs, would overflow.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .common import clip_window, edges, mean_of_hat, per_roi

LEAST = 1e-10


def taps(lo: Tensor, size: Tensor, bins: int, samples: int, cells: int | Tensor, width: int) -> tuple[Tensor, Tensor]:
    lo, beta, near, _ = edges(lo, size, bins)
    start = lo + near
    some = beta > LEAST
    length = torch.where(some, beta, torch.ones_like(beta))[..., None]  # [R, 1, 1]
    cell = torch.arange(width, device=lo.device)
    p = start[..., None] - cell.to(start.dtype)  # [R, bins, width]
    tap = mean_of_hat(p, length)
    n = per_roi(cells, start)
    on_map = some[..., None] & (cell < n[..., None])
    nan = torch.isnan(p)  # a NaN box gives NaN, not silence
    window = clip_window(torch.floor(start.detach()), torch.ceil((start + beta).detach()) + 1, n)
    return torch.where(on_map | nan, tap, torch.zeros_like(tap)), window


def fill(lo, beta, near, far, samples, cells, index, weight):
    if not (abs(lo) < math.inf and abs(beta) < math.inf):
        index[0], weight[0] = 0, math.nan
        return 1
    if beta <= LEAST:
        return 0
    start = lo + near
    first = int(max(0.0, min(np.floor(start), float(cells))))
    stop = int(max(0.0, min(np.ceil(start + beta) + 1.0, float(cells))))
    n = 0
    for u in range(first, stop):
        p = start - u
        s0 = min(max((-1.0 - p) / beta, 0.0), 1.0)
        s1 = min(max(-p / beta, 0.0), 1.0)
        s2 = min(max((1.0 - p) / beta, 0.0), 1.0)
        w = (s1 - s0) * (1.0 + p + beta * (s0 + s1) / 2.0) + (s2 - s1) * (1.0 - p - beta * (s1 + s2) / 2.0)
        if w != 0.0:
            index[n], weight[n] = u, w
            n += 1
    return n
