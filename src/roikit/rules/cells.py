"""The mean of the whole cells of a rounded bin: RoI Pooling as Caffe and torchvision round it.

    R_i = [⌊iβ⌋ + lo, ⌈(i+1)β⌉ + lo) clipped to the map,   lo a whole number
    tap = 1/|R_i| inside, an empty bin gives 0

The same R_i is what max pooling takes its maximum over. Piecewise constant in the box: no gradient.
"""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from .common import ceil, clip_window, edges, floor, mean_of_window, per_roi


def taps(lo: Tensor, size: Tensor, bins: int, samples: int, cells: int | Tensor, width: int) -> tuple[Tensor, Tensor]:
    found = window(lo, size, bins, cells)
    return mean_of_window(found, width, lo.detach()[:, None]), found


def window(lo: Tensor, size: Tensor, bins: int, cells: int | Tensor) -> Tensor:
    """R_i: int32 ``Tensor[R, bins, 2]``."""
    lo, _, near, far = edges(lo.detach(), size.detach(), bins)
    return clip_window(floor(near) + lo, ceil(far) + lo, per_roi(cells, lo))


def fill(lo, beta, near, far, samples, cells, index, weight):
    if not (abs(lo) < math.inf and abs(beta) < math.inf):
        index[0], weight[0] = 0, math.nan
        return 1
    first = int(min(max(np.floor(near) + lo, 0.0), float(cells)))
    stop = int(min(max(np.ceil(far) + lo, 0.0), float(cells)))
    n = 0
    for u in range(first, stop):
        index[n], weight[n] = u, 1.0 / (stop - first)
        n += 1
    return n
