"""One sum, two ways: points into the kernel, or taps where points or their weights need gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...boxes import Rois
from ..maps import cells_of, sum_dtype
from ..transforms import needs_plain_torch
from ..trilinear import register_four, register_pair
from . import reference
from .sums import PointSums, points_and_weights, taps, taps_and_cells

_point_pool = register_pair("point", ("batch", "level", "points", "weights"), PointSums(points_and_weights))
_point_tap_pool = register_four("point_tap", ("batch", "level", "low"), PointSums(taps_and_cells))
_NUMBERS = [2]  # cells of a sample on each axis: there is no setting, and torch cannot differentiate past an empty list


def pool(maps: Sequence[Tensor], rois: Rois, points: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of bilinear samples, in R regions of K bins.

    Args:
        maps: one ``Tensor[B, C, H_l, W_l]`` per level.
        rois: which image and level each region is read from.
        points: ``Tensor[R, K, P, 2]``, (y, x) in cells of the RoI's own level; the value of cell u lies at u.
        weights: ``Tensor[R, K, P]``.

    A sample < -1 or > N on either axis counts 0, otherwise it is moved onto [0, N - 1]: RoI Align's convention.

    Returns:
        ``Tensor[R, C, K]`` in the maps' dtype, differentiable in maps, points and weights. With no gradient to points
        or weights one kernel does all of it; otherwise taps are made, and the gradient flows through them.
    """
    kind = sum_dtype(maps[0].dtype)
    points, weights = points.to(kind), weights.to(kind)
    plain = needs_plain_torch()
    if not plain and not (torch.is_grad_enabled() and (points.requires_grad or weights.requires_grad)):
        return _point_pool(list(maps), rois.batch, rois.level, points, weights, _NUMBERS)
    rows, cols, low = taps(points, weights, cells_of(maps, rois.level))
    if plain:
        if maps[0].dtype == kind:
            return reference.pool(maps, rois.batch, rois.level, rows, cols, low)
        return reference.pool([x.to(kind) for x in maps], rois.batch, rois.level, rows, cols, low).to(maps[0].dtype)
    return _point_tap_pool(list(maps), rows, cols, rois.batch, rois.level, low, _NUMBERS)
