"""Spatial pyramid pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..boxes import Scale
from ..geometry import pair
from ..sums.maps import Maps
from ..weights import Stacked
from .adaptive_roi_align import AdaptiveRoIAlign
from .base import Boxes, RegionExtractor
from .pr_roi_pool import PrRoIPool
from .roi_align import RoIAlign
from .roi_pool import RoIPool
from .roi_warp import RoIWarp

RULES = {
    "max": lambda grid, expand: RoIPool(grid, "max", expand=expand),
    "average": lambda grid, expand: RoIPool(grid, "average", expand=expand),
    "align": lambda grid, expand: RoIAlign(grid, expand=expand),
    "precise": lambda grid, expand: PrRoIPool(grid, expand=expand),
    "adaptive": lambda grid, expand: AdaptiveRoIAlign(grid, expand=expand),
    "warp": lambda grid, expand: RoIWarp(grid, expand=expand),
}


class SpatialPyramidPool(RegionExtractor):
    """Spatial pyramid pooling (He et al., SPP-net, ECCV 2014): a region pooled at several grids.

    The parts of all grids follow one another, finest grid first as given: ``Tensor[R, C, K, 1]``, K = 16 + 4 + 1 for
    4×4, 2×2 and 1×1.

    Args:
        grids: each a number or (h, w).
        rule: how a bin is pooled: "max" (as in the paper) and "average" (RoI Pooling), "align" (RoI Align), "precise"
            (PrRoI Pooling), "adaptive" (Adaptive RoI Align), "warp" (RoI Warping).
        expand: area factor of the RoI.

    Example:
        >>> import torch, roikit
        >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> roikit.SpatialPyramidPool((2, 1))(x, [torch.tensor([[0.0, 0.0, 3.0, 3.0]])]).flatten().tolist()
        [5.0, 7.0, 13.0, 15.0, 15.0]
    """

    paper = "He et al., SPP-net, 2014"

    def __init__(
        self,
        grids: Sequence[int | Sequence[int]] = (4, 2, 1),
        rule: Literal["max", "average", "align", "precise", "adaptive", "warp"] = "max",
        expand: float = 1.0,
    ) -> None:
        if rule not in RULES:
            raise ValueError(f"rule must be one of {', '.join(map(repr, RULES))}, not {rule!r}")
        if not isinstance(grids, Sequence) or not grids:
            raise ValueError(f"grids must be a sequence of grids such as (4, 2, 1), not {grids!r}")
        self._grids = tuple(pair(grid) for grid in grids)
        super().__init__((sum(h * w for h, w in self._grids), 1), expand)
        self.rule = rule
        self.levels = [RULES[rule](grid, expand) for grid in self._grids]  # no parameters: a plain list
        self.differentiable_in_boxes = self.levels[0].differentiable_in_boxes

    def weights(self, features: Maps, boxes: Boxes, spatial_scale: Scale | Sequence[Scale] = 1.0) -> Stacked:
        return Stacked(tuple(level.weights(features, boxes, spatial_scale) for level in self.levels))

    def settings(self) -> dict[str, object]:
        return {"grids": self._grids, "rule": self.rule}
