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
    """A pair of axes for every bin: deformable pooling and the position-sensitive family.

    Args:
        rows, cols: axes of R·G·K regions with one bin each; entry (r·G + g)·K + k is bin k = i·w + j of RoI r for the
            g-th group of output channels.
        rois: which image and level each region is read from.
        grid: (h, w), with K = h·w.
        amplitude: ``Tensor[R, K]``, a factor on each bin; ``None`` is 1.
        channels: which channels each bin reads, as many as one group has; ``None``: all, every bin the same.
        groups: G: output channels lie in G groups of equal size, each with its own bins (class-wise offsets).
        offset: ``Tensor[R, 2·G, h, w]``, (y, x) unless the method says otherwise: the normalised offsets of a
            deformable method, for a penalty on them.
        shift: ``Tensor[R, 2, h, w]``, (y, x): the cells by which a method that searches has moved each bin.
    """

    rows: Axis
    cols: Axis
    rois: Rois
    grid: tuple[int, int]
    amplitude: Tensor | None = None
    channels: Channels | None = None
    groups: int = 1
    offset: Tensor | None = None
    shift: Tensor | None = None

    def pool(self, features: Maps) -> Tensor:
        maps = as_maps(features)
        channels = self.channels or Channels(maps[0].shape[1])
        parts = self.grid[0] * self.grid[1]
        out = pool(maps, self.rois, self.rows, self.cols, self.groups * parts, channels)
        if self.groups > 1:  # [R, C / G, G·K] to [R, C, K]
            out = out.unflatten(2, (self.groups, parts)).transpose(1, 2).flatten(1, 2)
        if self.amplitude is not None:
            out = out * self.amplitude[:, None].to(out.dtype)
        return out.unflatten(2, self.grid)

    def dense(self, height: int, width: int) -> Tensor:
        """``Tensor[R, G, K, height, width]``; an output channel has its group's weights, on its own channels."""
        rows, cols = self.rows.taps(height)[:, 0], self.cols.taps(width)[:, 0]
        shape = (self.rois.batch.shape[0], self.groups, self.grid[0] * self.grid[1], height, width)
        dense = torch.einsum("nv,nu->nvu", rows, cols).reshape(shape)
        if self.amplitude is not None:
            dense = dense * self.amplitude[:, None, :, None, None]
        return dense
