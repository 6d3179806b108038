"""The exact mean of the bilinear interpolant over the part of a bin that lies on the map.

    tap_i(u) = m_i(u) / Σ_u' m_i(u'),   m_i(u) = ∫ g(u - t) dt  over  [lo + iβ, lo + (i+1)β];   0 if wholly outside

``integral``, which lets the features fall to zero beyond the border cells' centres, divided by its sum. Seen from cell
u, the bin reaches from p = lo + iβ - u to q = p + β; T0, T1, T2 = the kinks -1, 0, 1 of g, clipped into it, and

    m = (T1 - T0)(1 + (T0 + T1)/2) + (T2 - T1)(1 - (T1 + T2)/2)

which is exact for wide bins. For narrow ones (β < 1) it is the form of ``integral``, in which T is measured from p and
divided by β, so that nothing cancels. m has a continuous derivative whichever way a tie is broken: a T that is a kink
has the factor 0. A bin that has one cell alone (all of it that is on the map lies beyond the last centre) has the
constant tap 1, not a quotient of two small numbers.

Differentiable in lo and size. A bin of at most ``LEAST`` cells, or with no more on the map, counts as outside: the
inverse cubed, which the second derivative needs, would overflow.
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
    n, start = per_roi(cells, lo), lo + near
    cell = torch.arange(width, device=lo.device)
    p, q = ((edge[..., None] - cell.to(lo.dtype)) for edge in (start, start + beta))  # [R, bins, width]
    p, q = (edge.clamp(-3, 3) + 0 * edge for edge in (p, q))  # beyond ±1 nothing counts
    beta = beta[..., None]
    narrow, none = beta < 1, beta <= LEAST
    mass = torch.where(narrow, mean_of_hat(p, torch.where(narrow & ~none, beta, torch.ones_like(beta))), _wide(p, q))
    off_map = ((cell >= n[..., None]) | none) & ~torch.isnan(p)  # a NaN box gives NaN, not silence
    mass = torch.where(off_map, torch.zeros_like(mass), mass)
    total = mass.sum(-1, keepdim=True)
    outside, alone = total <= LEAST, mass == total
    one = torch.ones_like(mass)
    tap = torch.where(alone, one, mass / torch.where(outside | alone.any(-1, keepdim=True), one, total))
    window = clip_window(torch.floor(start.detach()), torch.ceil((start + beta[..., 0]).detach()) + 1, n)
    return torch.where(outside, torch.zeros_like(tap), tap), window


def _wide(p: Tensor, q: Tensor) -> Tensor:
    t0, t1, t2 = (torch.maximum(q.clamp(max=kink), p) for kink in (-1, 0, 1))
    return (t1 - t0) * (1 + (t0 + t1) / 2) + (t2 - t1) * (1 - (t1 + t2) / 2)


def fill(lo, beta, near, far, samples, cells, index, weight):
    if not (abs(lo) < math.inf and abs(beta) < math.inf):
        index[0], weight[0] = 0, math.nan
        return 1
    if beta <= LEAST:
        return 0
    start = lo + near
    end = start + beta
    first = int(max(0.0, min(np.floor(start), float(cells))))
    stop = int(max(0.0, min(np.ceil(end) + 1.0, float(cells))))
    n = 0
    total = 0.0
    for u in range(first, stop):
        p = min(max(start - u, -3.0), 3.0)
        if beta < 1:
            s0 = min(max((-1 - p) / beta, 0.0), 1.0)
            s1 = min(max(-p / beta, 0.0), 1.0)
            s2 = min(max((1 - p) / beta, 0.0), 1.0)
            mass = (s1 - s0) * (1 + p + beta * (s0 + s1) / 2) + (s2 - s1) * (1 - p - beta * (s1 + s2) / 2)
        else:
            q = min(max(end - u, -3.0), 3.0)
            t0, t1, t2 = max(min(q, -1.0), p), max(min(q, 0.0), p), max(min(q, 1.0), p)
            mass = (t1 - t0) * (1 + (t0 + t1) / 2) + (t2 - t1) * (1 - (t1 + t2) / 2)
        if mass != 0.0:
            index[n], weight[n] = u, mass
            total += mass
            n += 1
    if total <= LEAST:
        return 0
    for e in range(n):
        weight[e] /= total
    return n
