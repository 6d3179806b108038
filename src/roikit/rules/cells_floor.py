"""The mean of the whole cells of a half-open bin: RoI Pooling as the explainer articles round it.

    R_i = [⌊lo + iβ⌋, max(⌊lo + (i+1)β⌋, ⌊lo + iβ⌋ + 1)) clipped to the map
    tap = 1/|R_i| inside, an empty bin gives 0

Every bin has at least one cell before clipping, so a RoI smaller than its grid repeats cells. No gradient to the box.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .common import clip_window, edges, floor, mean_of_window, per_roi


def taps(lo: Tensor, size: Tensor, bins: int, samples: int, cells: int | Tensor, width: int) -> tuple[Tensor, Tensor]:
    found = window(lo, size, bins, cells)
    return mean_of_window(found, width, lo.detach()[:, None]), found


def window(lo: Tensor, size: Tensor, bins: int, cells: int | Tensor) -> Tensor:
    """R_i: int32 ``Tensor[R, bins, 2]``."""
    lo, _, near, far = edges(lo.detach(), size.detach(), bins)
    first = floor(lo + near)
    return clip_window(first, torch.maximum(floor(lo + far), first + 1), per_roi(cells, lo))


def fill(lo, beta, near, far, samples, cells, index, weight):
    if not (abs(lo) < math.inf and abs(beta) < math.inf):
        index[0], weight[0] = 0, math.nan
        return 1
    begin = np.floor(lo + near)  # not math's, which gives an int64: a huge RoI does not fit one
    end = max(np.floor(lo + far), begin + 1)
    first = int(min(max(begin, 0.0), float(cells)))
    stop = int(min(max(end, 0.0), float(cells)))
    n = 0
    for u in range(first, stop):
        index[n], weight[n] = u, 1.0 / (stop - first)
        n += 1
    return n
