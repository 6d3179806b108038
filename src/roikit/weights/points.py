"""Weights on free bilinear sample points."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ..boxes import Rois
from ..sums.maps import Maps, as_maps, cells_of, sum_dtype
from ..sums.points import NUMBERS, point_pool, point_tap_pool, taps
from .base import RegionWeights


@dataclasses.dataclass(frozen=True)
class Points(RegionWeights):
    """Bilinear samples at free points, each with its weight: rotated boxes, sectors.

    Args:
        points: ``Tensor[R, K, P, 2]``, (y, x) in cells of the RoI's own feature level; the value of cell u lies at u
            (in image coordinates at u + ½). A point < -1 or > N on an axis of N cells counts 0, as in RoI Align;
            otherwise it is moved onto [0, N - 1].
        weights: ``Tensor[R, K, P]``; bins of fewer than P samples fill up with weights of 0.
        rois: which image and level each region is read from.
        grid: (h, w) with K = h·w.
        rotated: ``Tensor[R, 5]``, (cx, cy, w, h, θ) in image pixels and radians: the rotated boxes that a method found
            or was given.
        deltas: ``Tensor[R, 5]``: of a method that predicts rotated boxes, what it predicted, for its loss.

    Example:
        >>> import torch
        >>> x, boxes = torch.arange(16.0).reshape(1, 1, 4, 4), [torch.tensor([[0.0, 0.0, 4.0, 4.0]])]
        >>> point = torch.tensor([1.5, 2.0]).reshape(1, 1, 1, 2)
        >>> Points(point, torch.ones(1, 1, 1), Rois.of(boxes, 1), (1, 1)).pool(x)
        tensor([[[[8.]]]])
    """

    points: Tensor
    weights: Tensor
    rois: Rois
    grid: tuple[int, int]
    rotated: Tensor | None = None
    deltas: Tensor | None = None

    def __post_init__(self) -> None:
        shape = (self.rois.batch.shape[0], self.grid[0] * self.grid[1])
        if self.points.ndim != 4 or self.points.shape[:2] != shape or self.points.shape[3] != 2:
            raise ValueError(
                f"points must be a Tensor[{shape[0]}, {shape[1]}, P, 2] of (y, x) for this many RoIs and parts, "
                f"but the shape is {list(self.points.shape)}"
            )
        if self.weights.shape != self.points.shape[:3]:
            raise ValueError(
                f"weights must be a Tensor{list(self.points.shape[:3])}, one for each point, "
                f"but the shape is {list(self.weights.shape)}"
            )

    def pool(self, features: Maps) -> Tensor:
        maps, (batch, level) = as_maps(features), (self.rois.batch, self.rois.level)
        points, weights = (t.to(sum_dtype(maps[0].dtype)) for t in (self.points, self.weights))
        if torch.is_grad_enabled() and (points.requires_grad or weights.requires_grad):
            rows, cols, low = taps(points, weights, cells_of([x.shape for x in maps], level))
            out = point_tap_pool(maps, (rows, cols), (batch, level, low), NUMBERS)
        else:
            out = point_pool(maps, (), (batch, level, points, weights), NUMBERS)
        return out.unflatten(2, self.grid)

    def dense(self, height: int, width: int) -> Tensor:
        """``Tensor[R, 1, K, height, width]``: what each cell of such a map counts in each part."""
        cells = cells_of([(height, width)], self.rois.level)
        rows, cols, low = taps(self.points, self.weights.to(self.points.dtype), cells)
        flat = self.points.new_zeros(*self.points.shape[:2], height * width)
        for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
            v, u = (low[..., 0].long() + a).clamp(max=height - 1), (low[..., 1].long() + b).clamp(max=width - 1)
            flat = flat.scatter_add(-1, v * width + u, rows[..., a] * cols[..., b])  # taps beyond the border are 0
        return flat.unflatten(-1, (height, width)).unsqueeze(1)
