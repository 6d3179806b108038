"""Weights that are a product of a row and a column: w_(i,j)(v, u) = rows_i(v) · cols_j(u)."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ..boxes import Rois
from ..ops.axis import Axis
from ..ops.grid_pool import pool, taps_of
from ..ops.maps import Maps, as_maps
from .base import RegionWeights


@dataclasses.dataclass(frozen=True)
class Separable(RegionWeights):
    """A row axis and a column axis per region: RoIAlign, average RoIPool, PrRoIPool, adaptive, warp, centre.

    Args:
        rows, cols: an ``Axis`` each; or explicit taps, ``Tensor[R, h, H]`` and ``Tensor[R, w, W]`` (your own rule).
        rois: which image and level each region is read from.
        amplitude: ``Tensor[R, h, w]``, a factor on each bin (a mask); ``None`` is 1.

    ``pool`` evaluates the rule inside one kernel; only when gradients to the boxes (or to explicit taps) are wanted are
    taps made and pooled by operators that have derivatives in them. Both mean the same.
    """

    rows: Axis | Tensor
    cols: Axis | Tensor
    rois: Rois
    amplitude: Tensor | None = None

    def pool(self, features: Maps) -> Tensor:
        out = pool(as_maps(features), self.rois, self.rows, self.cols)
        return out if self.amplitude is None else out * self.amplitude[:, None].to(out.dtype)

    def dense(self, height: int, width: int) -> Tensor:
        rows = taps_of(self.rows, self.rois.level, [height])[0]
        cols = taps_of(self.cols, self.rois.level, [width])[0]
        dense = torch.einsum("riv,rju->rijvu", rows, cols)
        if self.amplitude is not None:
            dense = dense * self.amplitude[..., None, None]
        return dense.flatten(1, 2).unsqueeze(1)
