"""Deformable part-based RoI pooling."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from .. import geometry
from ..boxes import Rois, Scale, constant
from ..sums.maps import Maps, as_maps
from ..weights import RegionWeights, ShiftedBins
from ..weights.axis import Axis
from .base import Boxes, RegionExtractor


class PartDeformRoIPool(RegionExtractor):
    """Deformable part-based RoI pooling (Mordan et al., DP-FCN, BMVC 2017): each bin looks for where it fits best.

    A bin is the mean of its whole cells (average RoI Pooling); it moves by the displacement d, at most ``reach`` whole
    cells on each axis, that maximises

        ``mean over channels of the moved bin's value - λ·|d|²``

    found by trying all; of equals the nearest wins. Its value is the moved bin's, with the penalty: through that term
    λ ≥ 0 learns. All channels of a bin move together. The displacements are ``weights(...).shift``,
    ``Tensor[R, 2, h, w]`` (y, x) in cells.

    Args:
        output_size: the grid of bins.
        reach: D, in cells.
        penalty: λ at the start; positive.
        expand: area factor of the RoI.

    The cost grows with (2D+1)² for one channel, the mean; the channels themselves are pooled once.

    Example:
        >>> import torch, roikit
        >>> x = torch.zeros(1, 1, 5, 5)
        >>> x[..., 3, 3] = 1  # one cell away from the RoI's only cell
        >>> pool = roikit.PartDeformRoIPool(1, reach=1, penalty=0.125)
        >>> pool(x, [torch.tensor([[2.0, 2.0, 2.0, 2.0]])]).item()
        0.75
    """

    paper = "Mordan et al., Deformable Part-based FCN, 2017"

    def __init__(
        self,
        output_size: int | Sequence[int] = 7,
        reach: int = 2,
        penalty: float = 0.1,
        expand: float = 1.0,
    ) -> None:
        super().__init__(output_size, expand)
        if not isinstance(reach, int) or reach < 0:
            raise ValueError(f"reach is a number of cells, 0 or more, not {reach!r}")
        if not 0 < penalty < math.inf:
            raise ValueError(f"penalty must be positive (it learns from there), not {penalty}")
        self.reach = reach
        self.raw_penalty = nn.Parameter(torch.tensor(penalty + math.log(-math.expm1(-penalty))))
        steps = [(y, x) for y in range(-reach, reach + 1) for x in range(-reach, reach + 1)]
        steps.sort(key=lambda d: d[0] ** 2 + d[1] ** 2)  # stable: nearest first
        self._steps = tuple(steps)  # plain numbers: an average of models does not move them

    @property
    def penalty(self) -> Tensor:
        """λ, positive."""
        return softplus(self.raw_penalty)

    def weights(self, features: Maps, boxes: Boxes, spatial_scale: Scale | Sequence[Scale] = 1.0) -> ShiftedBins:
        maps = as_maps(features)
        rois, cells = self.locate(features, boxes, spatial_scale)
        rows, cols = geometry.whole_bins(cells.detach(), self.output_size)
        score = self._scores([x.detach() for x in maps], rois, rows, cols)
        shift = self._tried(cells)[score.argmax(2)]  # [R, K, 2]
        rows, cols = (
            dataclasses.replace(axis, lo=axis.lo + d.reshape(-1))
            for axis, d in zip((rows, cols), shift.unbind(2), strict=True)
        )
        grid = shift.transpose(1, 2).unflatten(2, self.output_size)
        return ShiftedBins(rows, cols, rois, self.output_size, shift=grid)

    def _tried(self, like: Tensor) -> Tensor:
        """The displacements, nearest first: ``Tensor[(2D+1)², 2]``, (y, x) in cells."""
        return constant(self._steps, like.dtype, like.device)

    @torch.no_grad()
    def _scores(self, maps: list[Tensor], rois: Rois, rows: Axis, cols: Axis) -> Tensor:
        """``Tensor[R, K, (2D+1)²]``: each bin's mean over channels at each displacement, less its penalty."""
        means = [_mean(x).to(rois.boxes.dtype) for x in maps]
        steps = self._tried(rois.boxes)
        moved_rows, moved_cols = (
            Axis((axis.lo[:, None] + d).flatten(), axis.size[:, None].expand(-1, d.shape[0]).flatten(), 1, axis.rule)
            for axis, d in zip((rows, cols), steps.unbind(1), strict=True)
        )
        parts, tries = self.output_size[0] * self.output_size[1], steps.shape[0]
        found = ShiftedBins(moved_rows, moved_cols, rois, (parts, tries)).pool(means)[:, 0]
        return found - self.penalty.to(steps.dtype) * steps.square().sum(1)

    def after(self, pooled: Tensor, weights: RegionWeights) -> Tensor:
        assert isinstance(weights, ShiftedBins) and weights.shift is not None
        far = weights.shift.square().sum(1, keepdim=True)
        return pooled - (self.penalty.to(far.dtype) * far).to(pooled.dtype)

    def settings(self) -> dict[str, object]:
        return {
            "reach": self.reach,
            "penalty": "?" if self.raw_penalty.is_meta else float(f"{self.penalty.detach():.6g}"),
        }


def _mean(x: Tensor) -> Tensor:
    """[B, 1, H, W]; of no channels, 0."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return wide.mean(1, keepdim=True) if x.shape[1] else wide.new_zeros(x.shape[0], 1, *x.shape[2:])
