"""Sampled bilinear interpolation: RoI Align (Mask R-CNN; LRF Eq. 4).

    tap_i(u) = (1/S) Σ_{s<S} g(u - clamp(v_s, 0, N-1)),   v_s = lo + iβ + (s + ½)β/S,   g(t) = max(0, 1 - |t|)

A sample outside [-1, N] contributes 0 and still counts in S. ``samples`` ≤ 0 is adaptive: S = ⌈β⌉; S ≤ 0 gives 0.
v_s is computed in this order and in the boxes' dtype: whether a sample at -1 or N counts hangs on its last bit.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .. import modes
from .common import edges, interpolated, per_roi, window_of_samples


def taps(lo: Tensor, size: Tensor, bins: int, samples: int, cells: int | Tensor, width: int) -> tuple[Tensor, Tensor]:
    start, beta, near, _ = edges(lo, size, bins)
    n = per_roi(cells, lo)
    start = start + near  # [R, bins]
    if samples > 0:
        count = torch.full_like(beta, float(samples))
        most = samples
    else:
        count = torch.ceil(beta.detach()).clamp(min=0)  # a whole number: no gradient
        # Adaptive samples lie at least half a cell apart, so at most 2(N + 1) + 1 of them fall on the map.
        most = 2 * width + 6
        if count.numel() and count.device.type == "cpu" and modes.eager():
            most = int(min(most, max(1.0, float(count.nan_to_num(1.0).max()))))
    # Skip the samples before the map: only [-1, N] matters, and a huge RoI has very many.
    if samples > 0:
        skip = torch.zeros_like(start)
    else:
        step = (beta / count.clamp(min=1)).detach().clamp(min=1e-6)
        skip = (torch.floor((-1 - start.detach()) / step - 0.5) - 1).clamp(min=0).nan_to_num(0.0)
    order = skip[..., None] + torch.arange(most, device=lo.device).to(lo.dtype)  # [R, bins, most]
    at = start[..., None] + (order + 0.5) * beta[..., None] / count[..., None].clamp(min=1)
    counted = (order < count[..., None]) & ~((at < -1) | (at > n[..., None]))
    share = counted.to(lo.dtype) / count[..., None].clamp(min=1)
    far = start + (count - 0.5) * beta / count.clamp(min=1)
    return interpolated(at, share, n, width), window_of_samples(start, far, n)


def fill(lo, beta, near, far, samples, cells, index, weight):
    if not (abs(lo) < math.inf and abs(beta) < math.inf):
        index[0], weight[0] = 0, math.nan
        return 1
    kind = type(lo)
    count = kind(samples) if samples > 0 else np.ceil(beta)
    if count <= 0:
        return 0
    start = lo + near
    first, last = 0.0, float(count)
    if beta > 0 and samples <= 0:  # only the samples on [-1, N] matter, and a huge RoI has very many
        step = float(beta) / float(count)
        first = max(first, np.floor((-1.0 - start) / step - 0.5) - 1.0)
        last = min(last, np.ceil((cells - start) / step + 0.5) + 1.0)
    n = 0
    # Counted in whole numbers: beyond 2**53 a float does not grow by adding 1. Adaptive samples lie at least half a
    # cell apart.
    for s in range(int(min(last - first, float(max(samples, 2 * cells + 6))))):
        v = start + kind(first + s + 0.5) * beta / count
        if v < -1.0 or v > cells:
            continue
        v = min(max(v, kind(0)), kind(cells - 1))
        low = int(v)
        part = float(v) - low
        # Neighbouring samples share cells: merge with the last two entries.
        for cell, w in ((low, (1.0 - part) / float(count)), (low + 1, part / float(count))):
            if w == 0.0:
                continue
            if n > 0 and index[n - 1] == cell:
                weight[n - 1] += w
            elif n > 1 and index[n - 2] == cell:
                weight[n - 2] += w
            else:
                index[n], weight[n] = cell, w
                n += 1
    return n
