"""A box in feature cells, as (lo, size) of each axis, the way each method reads it."""

from __future__ import annotations

import torch
from torch import Tensor

from .axis import Axis

Geometry = tuple[Tensor, Tensor, Tensor, Tensor]  # row lo, row size, col lo, col size: Tensor[R] each, feature cells


def corners(cells: Tensor, shift: float = 0.0) -> Geometry:
    """The box as it is, moved by -shift: PrRoI Pooling (0), and RoI Align's pixel model (½)."""
    x1, y1, x2, y2 = (cells - shift if shift else cells).unbind(1)
    return y1, y2 - y1, x1, x2 - x1


def aligned(cells: Tensor, align: bool) -> Geometry:
    """RoI Align: shifted by -½ cell, or unshifted with sides of at least 1 cell (the original implementation)."""
    y, h, x, w = corners(cells, 0.5 if align else 0.0)
    return (y, h, x, w) if align else (y, h.clamp(min=1), x, w.clamp(min=1))


def rounded(cells: Tensor) -> Geometry:
    """RoI Pooling as Caffe rounds it: corners half away from zero, the last cell included, at least 1 cell."""
    whole = torch.trunc(cells)
    whole = whole + torch.copysign(((cells - whole).abs() >= 0.5).to(cells.dtype), cells)
    y, h, x, w = corners(whole)
    return y, (h + 1).clamp(min=1), x, (w + 1).clamp(min=1)


def axes(geometry: Geometry, bins: tuple[int, int], rule: str, samples: int = 0) -> tuple[Axis, Axis]:
    """A row axis and a column axis with one rule."""
    y, h, x, w = geometry
    return Axis(y, h, bins[0], rule, samples), Axis(x, w, bins[1], rule, samples)
