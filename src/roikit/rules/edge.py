"""Bilinear samples that start at the bin's edge, averaged over those on the map: RoI Warping, deformable PS pooling.

    tap_i(u) = (1/n) Σ_{s<S, inside} g(u - clamp(v_s, 0, N-1)),   v_s = lo + iβ + s·β/S,   g(t) = max(0, 1 - |t|)

A sample is inside on [-½, N-½]; n counts those inside, and with none the bin gives 0. S = ``samples`` ≥ 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .common import edges, interpolated, per_roi, window_of_samples


def taps(lo: Tensor, size: Tensor, bins: int, samples: int, cells: int | Tensor, width: int) -> tuple[Tensor, Tensor]:
    start, beta, near, _ = edges(lo, size, bins)
    start, step = start + near, (beta / samples)[..., None]
    n = per_roi(cells, lo)
    at = start[..., None] + torch.arange(samples, device=lo.device).to(lo.dtype) * step  # [R, bins, S]
    counted = ~((at < -0.5) | (at > n[..., None] - 0.5))  # a NaN counts, so that it is seen
    share = counted.to(lo.dtype) / counted.sum(-1, keepdim=True).clamp(min=1).to(lo.dtype)
    far = start + (samples - 1) * step[..., 0]
    return interpolated(at, share, n, width), window_of_samples(start, far, n)


def fill(lo, beta, near, far, samples, cells, index, weight):
    if not (abs(lo) < math.inf and abs(beta) < math.inf):
        index[0], weight[0] = 0, math.nan
        return 1
    kind = type(lo)
    start, step = lo + near, beta / kind(samples)
    inside = 0
    n = 0
    for s in range(samples):
        v = start + kind(s) * step
        if v < -0.5 or v > cells - 0.5:
            continue
        inside += 1
        v = min(max(v, kind(0)), kind(cells - 1))
        low = int(v)
        part = float(v) - low
        # Neighbouring samples share cells: merge with the last two entries.
        for cell, w in ((low, 1.0 - part), (low + 1, part)):
            if w == 0.0:
                continue
            if n > 0 and index[n - 1] == cell:
                weight[n - 1] += w
            elif n > 1 and index[n - 2] == cell:
                weight[n - 2] += w
            else:
                index[n], weight[n] = cell, w
                n += 1
    for e in range(n):
        weight[e] /= inside
    return n
