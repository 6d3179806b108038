"""Precise RoI Pooling."""

from __future__ import annotations

from collections.abc import Sequence

from .. import geometry
from ..boxes import Scale
from ..sums.maps import Maps
from ..weights import Separable
from .base import Boxes, RegionExtractor


class PrRoIPool(RegionExtractor):
    """Precise RoI Pooling (Jiang et al., IoU-Net, ECCV 2018): the exact mean of the bilinear interpolant over each bin.

    It is the limit of RoI Align's ever denser sampling, and exactly differentiable in the box. No -½ shift, zeros
    beyond the map, a RoI of no area gives 0.

    Args:
        output_size: the grid of bins.
        expand: area factor of the RoI.

    Example:
        >>> import torch, roikit
        >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> roikit.PrRoIPool(1)(x, [torch.tensor([[0.0, 0.0, 2.0, 2.0]])])
        tensor([[[[5.]]]])
    """

    paper = "Jiang et al., IoU-Net, 2018"
    differentiable_in_boxes = True

    def weights(self, features: Maps, boxes: Boxes, spatial_scale: Scale | Sequence[Scale] = 1.0) -> Separable:
        rois, cells = self.locate(features, boxes, spatial_scale)
        return Separable(*geometry.axes(geometry.corners(cells), self.output_size, "integral"), rois)
