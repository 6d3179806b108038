"""RoI Pooling: maximum or average of the whole cells of a rounded bin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from .. import geometry
from ..boxes import Scale
from ..sums.maps import Maps
from ..weights import RegionWeights, Selection, Separable
from .base import Boxes, RegionExtractor


class RoIPool(RegionExtractor):
    """RoI Pooling (Girshick, Fast R-CNN, ICCV 2015; the average form is LRF Eq. 3).

    Args:
        output_size: the grid of bins.
        mode: "max", the largest value of each channel, or "average".
        rounding: "caffe" rounds the box to cells first and lets bins overlap, as Caffe and ``torchvision.ops.roi_pool``
            do; "floor" cuts the unrounded box and floors each bin's ends (half-open bins of at least one cell).
        expand: area factor of the RoI.

    A bin outside the map gives 0. No gradient to the boxes: the bins are whole cells.

    Example:
        >>> import torch, roikit
        >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> roikit.RoIPool(2, mode="average", rounding="floor")(x, [torch.tensor([[0.0, 0.0, 4.0, 4.0]])])
        tensor([[[[ 2.5000,  4.5000],
                  [10.5000, 12.5000]]]])
    """

    paper = "Girshick, Fast R-CNN, 2015"

    def __init__(
        self,
        output_size: int | Sequence[int] = 7,
        mode: Literal["max", "average"] = "max",
        rounding: Literal["caffe", "floor"] = "caffe",
        expand: float = 1.0,
    ) -> None:
        super().__init__(output_size, expand)
        if mode not in ("max", "average"):
            raise ValueError(f'mode must be "max" or "average", not {mode!r}')
        if rounding not in ("caffe", "floor"):
            raise ValueError(f'rounding must be "caffe" or "floor", not {rounding!r}')
        self.mode = mode
        self.rounding = rounding

    def weights(self, features: Maps, boxes: Boxes, spatial_scale: Scale | Sequence[Scale] = 1.0) -> RegionWeights:
        rois, cells = self.locate(features, boxes, spatial_scale)
        cells = cells.detach()
        if self.rounding == "caffe":
            axes = geometry.axes(geometry.rounded(cells), self.output_size, "cells")
        else:
            axes = geometry.axes(geometry.corners(cells), self.output_size, "cells_floor")
        if self.mode == "average":
            return Separable(*axes, rois)
        return Selection.of_largest(features, rois, *axes)

    def settings(self) -> dict[str, object]:
        return {"mode": self.mode, "rounding": self.rounding}
