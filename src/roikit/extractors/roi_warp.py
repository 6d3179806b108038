"""RoI Warping."""

from __future__ import annotations

from collections.abc import Sequence

from .. import geometry
from ..boxes import Scale
from ..sums.maps import Maps
from ..weights import Separable
from .base import Boxes, RegionExtractor


class RoIWarp(RegionExtractor):
    """RoI Warping (Dai et al., Multi-task Network Cascades, CVPR 2016): one bilinear sample a bin, at its start.

    A sample outside [-½, N-½] gives 0, otherwise it is clamped to the map. Unlike RoI Pooling it has a gradient to the
    box; unlike RoI Align its samples are not centred in the bins.

    Args:
        output_size: the grid of samples (the paper warps to 28×28 or 14×14 and pools by maximum afterwards).
        rounding: round the box to whole cells first, as the original does; then there is no gradient to the box.
        expand: area factor of the RoI.

    Example:
        >>> import torch, roikit
        >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> roikit.RoIWarp(2)(x, [torch.tensor([[0.0, 0.0, 3.0, 3.0]])])
        tensor([[[[0.0000, 1.5000],
                  [6.0000, 7.5000]]]])
    """

    paper = "Dai et al., Multi-task Network Cascades, 2016"
    differentiable_in_boxes = True

    def __init__(self, output_size: int | Sequence[int] = 7, rounding: bool = False, expand: float = 1.0) -> None:
        super().__init__(output_size, expand)
        self.rounding = rounding
        self.differentiable_in_boxes = not rounding

    def weights(self, features: Maps, boxes: Boxes, spatial_scale: Scale | Sequence[Scale] = 1.0) -> Separable:
        rois, cells = self.locate(features, boxes, spatial_scale)
        box = geometry.warped(geometry.whole(cells.detach()) if self.rounding else cells)
        return Separable(*geometry.axes(box, self.output_size, "edge", 1), rois)

    def settings(self) -> dict[str, object]:
        return {"rounding": self.rounding}
