"""Weights that are a product of a row and a column: w_(i,j)(v, u) = rows_i(v) · cols_j(u)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from ..boxes import Rois
from ..sums.axes import full_window
from ..sums.maps import Maps, as_maps, own_side
from ..sums.separable import grid_pool, tap_pool
from .axis import Axis, fused
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
        maps, rows, cols, rois = as_maps(features), self.rows, self.cols, self.rois
        if isinstance(rows, Axis) and isinstance(cols, Axis) and fused(rows, cols):
            fixed = (rois.batch, rois.level, rows.starts_and_sizes(), cols.starts_and_sizes())
            numbers = [rows.bins, cols.bins, rows.number, cols.number, rows.samples, cols.samples]
            out = grid_pool(maps, (), fixed, numbers)
        else:
            (row_taps, row_window), (col_taps, col_window) = (
                _taps(axis, rois.level, [x.shape[dim] for x in maps]) for axis, dim in ((rows, 2), (cols, 3))
            )
            numbers = [row_taps.shape[1], col_taps.shape[1]]
            fixed = (rois.batch, rois.level, row_window, col_window)
            out = tap_pool(maps, (row_taps, col_taps), fixed, numbers)
        return out if self.amplitude is None else out * self.amplitude[:, None].to(out.dtype)

    def dense(self, height: int, width: int) -> Tensor:
        rows = _taps(self.rows, self.rois.level, [height])[0]
        cols = _taps(self.cols, self.rois.level, [width])[0]
        dense = torch.einsum("riv,rju->rijvu", rows, cols)
        if self.amplitude is not None:
            dense = dense * self.amplitude[..., None, None]
        return dense.flatten(1, 2).unsqueeze(1)


def _taps(axis: Axis | Tensor, level: Tensor, sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Taps ``Tensor[R, bins, N]``, as wide as the widest map, and windows ``Tensor[R, bins, 2]``, for maps with
    ``sizes`` cells on this axis."""
    most = max(sizes)
    if isinstance(axis, Axis):
        return axis.windowed_taps(own_side(sizes, level), most)
    if axis.shape[-1] < most:
        raise ValueError(
            f"explicit taps reach {axis.shape[-1]} cells but the map has {most}: give Tensor[R, bins, cells]"
        )
    return axis[..., :most], full_window(axis)
