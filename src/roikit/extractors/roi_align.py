"""RoI Align."""

from __future__ import annotations

from collections.abc import Sequence

from .. import geometry
from ..boxes import Scale
from ..sums.maps import Maps
from ..weights import Separable
from .base import Boxes, RegionExtractor


class RoIAlign(RegionExtractor):
    """RoI Align (He et al., Mask R-CNN, ICCV 2017; LRF Eq. 4): the mean of bilinear samples in each bin.

    Args:
        output_size: the grid of bins.
        sampling_ratio: samples per bin and axis; ≤ 0 takes ⌈bin size in cells⌉ of them.
        aligned: shift by -½ cell, so that a cell's value lies at its centre. ``False`` is the original, with RoIs of at
            least one cell.
        expand: area factor of the RoI.

    Any sampling density costs the same: the weights are a product of a row and a column.

    Example:
        >>> import torch, roikit
        >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> roikit.RoIAlign(2, sampling_ratio=1)(x, [torch.tensor([[0.0, 0.0, 4.0, 4.0]])])
        tensor([[[[ 2.5000,  4.5000],
                  [10.5000, 12.5000]]]])
    """

    paper = "He et al., Mask R-CNN, 2017"
    differentiable_in_boxes = True

    def __init__(
        self,
        output_size: int | Sequence[int] = 7,
        sampling_ratio: int = 2,
        aligned: bool = True,
        expand: float = 1.0,
    ) -> None:
        super().__init__(output_size, expand)
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned

    def weights(self, features: Maps, boxes: Boxes, spatial_scale: Scale | Sequence[Scale] = 1.0) -> Separable:
        rois, cells = self.locate(features, boxes, spatial_scale)
        box = geometry.aligned(cells, self.aligned)
        return Separable(*geometry.axes(box, self.output_size, "hat", self.sampling_ratio), rois)

    def settings(self) -> dict[str, object]:
        return {"sampling_ratio": self.sampling_ratio, "aligned": self.aligned}
