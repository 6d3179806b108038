"""Position-sensitive pooling (R-FCN): which map a bin reads, and the deformable form with its own conventions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..weights import Axis, Channels
from . import grid as geometry


def position_sensitive(channels: int, size: tuple[int, int], device: torch.device) -> Channels:
    """Bin k = i·w + j of output channel c reads channel c·h·w + k.

    Raises:
        ValueError: ``channels``, the number of maps, is not a multiple of h·w.
    """
    bins = size[0] * size[1]
    if channels % bins:
        raise ValueError(
            f"position-sensitive pooling to {size[0]}×{size[1]} needs a multiple of {bins} channels, "
            f"but the input has {channels}"
        )
    return Channels(channels // bins, bins, torch.arange(bins, device=device))


class PartGrid(NamedTuple):
    """The grids of deformable PS-RoI pooling.

    Args:
        bins: (h, w), the output.
        group: G: bins read G×G groups of maps; 1 is plain pooling, h is R-FCN's.
        part: P: offsets come on a P×P grid, of which each bin takes the part it lies in.
        classes: how many groups of output channels have offsets of their own.
    """

    bins: tuple[int, int]
    group: int
    part: int
    classes: int

    def cells(self, cuts: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Where each bin falls on a grid of ``cuts``²: rows [h] and columns [w], ⌊i · cuts / h⌋."""
        rows, cols = (torch.arange(n, device=device) * cuts // n for n in self.bins)
        return rows, cols

    def channels(self, maps: int, device: torch.device) -> Channels:
        """Output channel c of bin (i, j) reads channel (c·G + g_i)·G + g_j.

        Raises:
            ValueError: ``maps`` is not a multiple of G² · classes.
        """
        step = self.group**2
        if maps % (step * self.classes):
            raise ValueError(
                f"deformable position-sensitive pooling with {self.group}×{self.group} groups and {self.classes} "
                f"classes needs a multiple of {step * self.classes} channels, but the input has {maps}"
            )
        run = maps // (step * self.classes)  # output channels of one class
        rows, cols = self.cells(self.group, device)
        first = (rows[:, None] * self.group + cols).flatten()
        base = torch.arange(self.classes, device=device)[:, None] * (run * step) + first
        return Channels(run, step, base.flatten())


def deform_ps_bins(
    cells: Tensor, grid: PartGrid, samples: int, offset: Tensor | None, trans_std: float
) -> tuple[Axis, Axis]:
    """The bins of deformable PS-RoI pooling: axes of R·classes·h·w regions; without offsets of R·h and R·w regions.

    Args:
        cells: ``Tensor[R, 4]``, whole-pixel boxes with the last pixel included, in feature cells.
        grid: the grids.
        samples: per bin and axis.
        offset: ``Tensor[R, 2·classes, P, P]``, (x, y) per class; ``None`` is zero.
        trans_std: a bin moves by trans_std · offset · the RoI's size.
    """
    y, height, x, width = geometry.corners(cells, 0.5)
    height, width = height.clamp(min=0.1), width.clamp(min=0.1)
    shift = None
    if offset is not None:
        rows, cols = grid.cells(grid.part, offset.device)
        at = offset.to(cells.dtype)[:, :, rows[:, None], cols]  # [R, 2·classes, h, w]
        at = at.unflatten(1, (grid.classes, 2)).flip(2)  # (y, x)
        shift = trans_std * at * torch.stack([height, width], 1)[:, None, :, None, None]
    if shift is None:
        return geometry.bins((y, height, x, width), grid.bins, "edge", samples)
    found = [geometry.bins((y, height, x, width), grid.bins, "edge", samples, shift[:, c]) for c in range(grid.classes)]
    if grid.classes == 1:
        return found[0]
    parts = grid.bins[0] * grid.bins[1]
    axes = []
    for each in zip(*found, strict=True):  # entry (r·classes + c)·K + k
        lo, size = (
            torch.stack([getattr(axis, name).reshape(-1, parts) for axis in each], 1).flatten()
            for name in ("lo", "size")
        )
        axes.append(Axis(lo, size, 1, "edge", samples))
    return axes[0], axes[1]


def inclusive(boxes: Tensor) -> Tensor:
    """Boxes rounded to whole pixels with the last one included, as the original operator reads them; no gradient."""
    first, last = geometry.whole(boxes.detach()).split(2, 1)
    return torch.cat([first, last + 1], 1)
