"""Weights whose bins lie anywhere: each has its own start, size, channels and amplitude."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from ..boxes import Rois
from ..sums.bins import bin_pool, bin_tap_pool
from ..sums.bins.where import each_bin
from ..sums.maps import Maps, as_maps, own_side
from .axis import Axis, fused
from .base import RegionWeights


@dataclasses.dataclass(frozen=True)
class Channels:
    """Which channels a bin reads: output channel c of bin k is base[r, k] + c · step.

    Args:
        run: number of output channels.
        step: distance between the channels of one bin.
        base: int64 ``Tensor[R, K]`` or ``Tensor[K]``, the first channel of each bin; ``None`` is 0 everywhere.
    """

    run: int
    step: int = 1
    base: Tensor | None = None

    def of(self, count: int, bins: int, device: torch.device) -> Tensor:
        base = torch.zeros(bins, dtype=torch.int64, device=device) if self.base is None else self.base
        return base.expand(count, bins)


@dataclasses.dataclass(frozen=True)
class ShiftedBins(RegionWeights):
    """A pair of axes for every bin: deformable pooling and the position-sensitive family.

    Args:
        rows, cols: axes of R·G·K regions with one bin each; entry (r·G + g)·K + k is bin k = i·w + j of RoI r for the
            g-th group of output channels. Or what bins share where they make a grid: rows of R·h regions and columns of
            R·w.
        rois: which image and level each region is read from.
        grid: (h, w), with K = h·w.
        amplitude: ``Tensor[R, K]``, a factor on each bin; ``None`` is 1.
        channels: which channels each bin reads, as many as one group has; ``None``: all, every bin the same.
        groups: G: output channels lie in G groups of equal size, each with its own bins (class-wise offsets).
        offset: ``Tensor[R, 2·G, h, w]``, (y, x) unless the method says otherwise: the normalised offsets of a
            deformable method, for a penalty on them.
        shift: ``Tensor[R, 2, h, w]``, (y, x): the cells by which a method that searches has moved each bin.
        shared: whether rows and columns are those that bins share.
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
    shared: bool = False

    def pool(self, features: Maps) -> Tensor:
        maps = as_maps(features)
        parts = self.grid[0] * self.grid[1]
        out = self._bins(maps, self.groups * parts, self.channels or Channels(maps[0].shape[1]))
        if self.groups > 1:  # [R, C / G, G·K] to [R, C, K]
            out = out.unflatten(2, (self.groups, parts)).transpose(1, 2).flatten(1, 2)
        if self.amplitude is not None:
            out = out * self.amplitude[:, None].to(out.dtype)
        return out.unflatten(2, self.grid)

    def _bins(self, maps: list[Tensor], bins: int, channels: Channels) -> Tensor:
        """``Tensor[R, channels.run, G·K]``."""
        rows, cols, batch, level = self.rows, self.cols, self.rois.batch, self.rois.level
        count = batch.shape[0]  # not len(): under export it is a symbol, of which len() would make a constant
        base, numbers = channels.of(count, bins, batch.device), [channels.step, channels.run]
        if fused(rows, cols):
            sides = zip((rows, cols), self._regions(bins), strict=True)
            axes = [axis.starts_and_sizes().reshape(count, each, 2) for axis, each in sides]
            numbers += [rows.number, cols.number, rows.samples, cols.samples]
            return bin_pool(maps, (), (batch, level, *axes, base), numbers)
        row_taps, row_window, col_taps, col_window = self._taps([x.shape[2:] for x in maps], bins)
        return bin_tap_pool(maps, (row_taps, col_taps), (batch, level, row_window, col_window, base), numbers)

    def _regions(self, bins: int) -> tuple[int, int]:
        """Of one RoI, how many regions the rows are and how many the columns."""
        return self.grid if self.shared else (bins, bins)

    def _taps(self, shapes: Sequence[Sequence[int]], bins: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Taps [R, G·K, N] and windows [R, G·K, 2] of rows and of columns, for maps of (H, W) cells."""
        level, taps, windows = self.rois.level, [], []
        sides = zip(*shapes, strict=True)
        for axis, each, sizes in zip((self.rows, self.cols), self._regions(bins), sides, strict=True):
            found, window = axis.windowed_taps(own_side(sizes, level, each), max(sizes))
            taps.append(found.reshape(level.shape[0], each, max(sizes)))
            windows.append(window.reshape(level.shape[0], each, 2))
        (rows, cols), (row_window, col_window) = each_bin(bins, *taps), each_bin(bins, *windows)
        return rows, row_window, cols, col_window

    def dense(self, height: int, width: int) -> Tensor:
        """``Tensor[R, G, K, height, width]``; an output channel has its group's weights, on its own channels."""
        parts = self.grid[0] * self.grid[1]
        rows, _, cols, _ = self._taps([(height, width)], self.groups * parts)
        dense = torch.einsum("rkv,rku->rkvu", rows, cols).unflatten(1, (self.groups, parts))
        if self.amplitude is not None:
            dense = dense * self.amplitude[:, None, :, None, None]
        return dense
