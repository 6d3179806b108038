"""Weights whose bins lie anywhere: each has its own start, size, channels and amplitude."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ..boxes import Rois
from ..ops.axis import Axis
from ..ops.bin_pool import Channels, pool
from ..ops.maps import Maps, as_maps
from .base import RegionWeights


@dataclasses.dataclass(frozen=True)
class ShiftedBins(RegionWeights):
    """A pair of axes for every bin: deformable pooling, spatial pyramids, the position-sensitive family.

    Args:
        rows, cols: axes of R·K regions with one bin each; entry r·K + k is bin k = i·w + j of RoI r.
        rois: which image and level each region is read from.
        grid: (h, w), with K = h·w.
        amplitude: ``Tensor[R, K]``, a factor on each bin; ``None`` is 1.
        channels: which channels each bin reads; ``None``: all, every bin the same.
        offset: ``Tensor[R, 2, h, w]`` (y, x), the normalised offsets of a deformable method, for a penalty on them.
    """

    rows: Axis
    cols: Axis
    rois: Rois
    grid: tuple[int, int]
    amplitude: Tensor | None = None
    channels: Channels | None = None
    offset: Tensor | None = None

    def pool(self, features: Maps) -> Tensor:
        maps = as_maps(features)
        channels = self.channels or Channels(maps[0].shape[1])
        out = pool(maps, self.rois, self.rows, self.cols, self.grid[0] * self.grid[1], channels)
        if self.amplitude is not None:
            out = out * self.amplitude[:, None].to(out.dtype)
        return out.unflatten(2, self.grid)

    def dense(self, height: int, width: int) -> Tensor:
        """``Tensor[R, 1, K, height, width]``; every output channel has these weights, on its own channel of the map."""
        rows, cols = self.rows.taps(height)[:, 0], self.cols.taps(width)[:, 0]
        dense = torch.einsum("nv,nu->nvu", rows, cols).reshape(
            self.rois.batch.shape[0], self.grid[0] * self.grid[1], height, width
        )
        if self.amplitude is not None:
            dense = dense * self.amplitude[..., None, None]
        return dense[:, None]
