"""Adaptive RoI Align."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .. import geometry
from ..boxes import Scale
from ..sums.maps import Maps
from ..weights import Separable
from .base import Boxes, RegionExtractor


class AdaptiveRoIAlign(RegionExtractor):
    """Adaptive RoI Align (Jung et al., Real-Time MDNet, ECCV 2018): interpolation as wide as the bin.

    One point a bin, at its start; on each axis it mixes the cells ⌊v⌋ and ⌊v⌋ + δ around it, with δ = the bin's size
    rounded to whole cells, at least 1. Boxes are not shifted, and one cell longer than their corners say. A point
    outside the map gives 0, a cell past its border is left out.

    Args:
        output_size: the grid of bins.
        expand: area factor of the RoI.

    Example:
        >>> import torch, roikit
        >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> roikit.AdaptiveRoIAlign(2)(x, [torch.tensor([[0.0, 0.0, 3.0, 3.0]])])
        tensor([[[[ 0.,  2.],
                  [ 8., 10.]]]])
    """

    paper = "Jung et al., Real-Time MDNet, 2018"
    differentiable_in_boxes = True

    def weights(self, features: Maps, boxes: Boxes, spatial_scale: Scale | Sequence[Scale] = 1.0) -> Separable:
        rois, cells = self.locate(features, boxes, spatial_scale)
        return Separable(*geometry.axes(with_last_cell(cells), self.output_size, "adaptive"), rois)


def with_last_cell(cells: Tensor) -> geometry.Geometry:
    """Unshifted boxes whose last cell is counted: L = (x2 - x1)σ + 1."""
    y, height, x, width = geometry.corners(cells)
    return y, height + 1, x, width + 1
