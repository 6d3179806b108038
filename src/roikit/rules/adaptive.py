"""Interpolation as wide as the bin: Adaptive RoI Align (Jung et al., RT-MDNet, 2018).

    tap_i(u) = 1 - |u - v|/δ  at  u ∈ {h, h + δ},   v = lo + iβ,  h = ⌊v⌋,  δ = max(1, round(β))

v < 0 or v ≥ N gives 0; a tap past the border is dropped. δ is a whole number and has no gradient.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .common import clip_window, edges, per_roi


def taps(lo: Tensor, size: Tensor, bins: int, samples: int, cells: int | Tensor, width: int) -> tuple[Tensor, Tensor]:
    start, beta, near, _ = edges(lo, size, bins)
    at = start + near
    n = per_roi(cells, lo)
    reach = torch.floor(beta.detach() + 0.5).clamp(min=1)  # β > 0 where it counts: half away from zero
    low = torch.floor(at.detach())
    part = (at - low) / reach
    on_map = ~((at < 0) | (at >= n))  # a NaN counts, so that it is seen
    cell = torch.arange(width, device=lo.device).to(lo.dtype)
    low, high = low.nan_to_num(0.0), (low + reach).nan_to_num(0.0)
    fits = (on_map & ~(high >= n))[..., None]
    near_tap = torch.where(on_map[..., None] & (cell == low[..., None]), (1 - part)[..., None], torch.zeros_like(cell))
    far_tap = torch.where(fits & (cell == high[..., None]), part[..., None], torch.zeros_like(cell))
    return near_tap + far_tap, clip_window(low, high + 1, n)


def fill(lo, beta, near, far, samples, cells, index, weight):
    if not (abs(lo) < math.inf and abs(beta) < math.inf):
        index[0], weight[0] = 0, math.nan
        return 1
    v = lo + near
    if v < 0.0 or v >= cells:
        return 0
    reach = max(np.floor(beta + type(lo)(0.5)), 1.0)
    low = np.floor(v)
    part = (v - low) / reach
    index[0], weight[0] = int(low), 1.0 - part
    if part == 0.0 or low + reach >= cells:
        return 1
    index[1], weight[1] = int(low + reach), part
    return 2
