"""The feature at the centre of a region."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from .. import geometry
from ..boxes import Scale
from ..sums.maps import Maps
from ..weights import Separable
from .base import Boxes, RegionExtractor


class CenterPool(RegionExtractor):
    """The feature at the RoI's centre (one-stage detectors such as YOLO and SSD; LRF section 2.1).

    One part: the output is ``Tensor[R, C, 1, 1]``. A centre outside the map gives 0.

    Args:
        interpolation: "nearest", the cell that the centre lies in; "bilinear", interpolated between the centres of
            cells, with a gradient to the box.

    Example:
        >>> import torch, roikit
        >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> boxes = [torch.tensor([[0.0, 0.0, 4.0, 3.0]])]
        >>> roikit.CenterPool()(x, boxes).item(), roikit.CenterPool("bilinear")(x, boxes).item()
        (6.0, 5.5)
    """

    paper = "Redmon et al., YOLO, 2016; LRF section 2.1"

    def __init__(self, interpolation: Literal["nearest", "bilinear"] = "nearest") -> None:
        super().__init__(1)
        if interpolation not in ("nearest", "bilinear"):
            raise ValueError(f'interpolation must be "nearest" or "bilinear", not {interpolation!r}')
        self.interpolation = interpolation
        self.differentiable_in_boxes = interpolation == "bilinear"

    def weights(self, features: Maps, boxes: Boxes, spatial_scale: Scale | Sequence[Scale] = 1.0) -> Separable:
        rois, cells = self.locate(features, boxes, spatial_scale)
        if self.interpolation == "nearest":
            return Separable(*geometry.axes(centre(cells.detach(), 0.0), (1, 1), "cells_floor"), rois)
        return Separable(*geometry.axes(centre(cells, 0.5), (1, 1), "edge", 1), rois)

    def settings(self) -> dict[str, object]:
        return {"interpolation": self.interpolation}


def centre(cells: Tensor, shift: float) -> geometry.Geometry:
    """A region of no size at the box's centre, moved by -shift."""
    x, y = ((cells[:, :2] + cells[:, 2:]) / 2 - shift).unbind(1)
    nothing = torch.zeros_like(x)
    return y, nothing, x, nothing
