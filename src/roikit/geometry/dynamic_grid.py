"""A grid of its own for every RoI, as many cells as it needs for square ones (SRA's Dynamic Feature Sampler, Eq. 5)."""

from __future__ import annotations

import dataclasses
from math import gcd, isqrt

import torch
from torch import Tensor

from ..weights.axis import Axis
from . import Geometry

LEAST = 1e-3  # feature cells: a RoI's sides are at least this long


@dataclasses.dataclass(frozen=True)
class Cells:
    """The cells of R grids in raster order, padded to S places each.

    Args:
        height, width: int64 ``Tensor[R]``, each grid's h and w.
        row, col: int64 ``Tensor[R, S]``, where in its grid each cell lies; row 0 for a place without a cell.
        exists: bool ``Tensor[R, S]``: the first h·w places.
    """

    height: Tensor
    width: Tensor
    row: Tensor
    col: Tensor
    exists: Tensor

    @classmethod
    def of(cls, height: Tensor, width: Tensor, places: int) -> Cells:
        """Those of grids h × w, int64 ``Tensor[R]`` each, of at most ``places`` cells."""
        place = torch.arange(places, device=height.device)
        exists = place < (height * width)[:, None]
        row = torch.where(exists, place // width[:, None], torch.zeros_like(place))
        return cls(height, width, row, place % width[:, None], exists)

    def split(self, count: int) -> list[Cells]:
        """``count`` RoIs at a time."""
        parts = (getattr(self, field.name).split(count) for field in dataclasses.fields(self))
        return [Cells(*part) for part in zip(*parts, strict=True)]


def grids(most: int) -> Tensor:
    """All ratios h/w of grids of at most ``most`` cells: int64 ``Tensor[G, 2]`` of (h, w), each ratio's largest grid,
    larger ones first.

    Example:
        >>> grids(4).tolist()
        [[1, 4], [2, 2], [4, 1], [1, 3], [3, 1], [1, 2], [2, 1]]
    """
    found = []
    for h in range(1, most + 1):
        for w in range(1, most // h + 1):
            if gcd(h, w) == 1:
                times = isqrt(most // (h * w))
                found.append((times * h, times * w))
    return torch.tensor(sorted(found, key=lambda grid: (-grid[0] * grid[1], grid)))


def choose(height: Tensor, width: Tensor, among: Tensor) -> tuple[Tensor, Tensor]:
    """The grid whose ratio is closest to each RoI's, by |log|; of two as close the larger.

    Args:
        height, width: ``Tensor[R]``, positive, in feature cells.
        among: what ``grids`` gives.

    Returns:
        h and w, int64 ``Tensor[R]`` each. Piecewise constant in the RoIs.

    Example:
        >>> h, w = choose(torch.tensor([10.0, 5.0, 0.1]), torch.tensor([10.0, 11.0, 90.0]), grids(64))
        >>> list(zip(h.tolist(), w.tolist()))
        [(8, 8), (5, 11), (1, 64)]
    """
    ratio = (height.log() - width.log()).detach()
    sides = among.to(ratio.dtype).log()
    distance = (ratio[:, None] - (sides[:, 0] - sides[:, 1])).abs()
    return tuple(among[distance.argmin(1)].unbind(1))  # type: ignore[return-value]  # the first of equal ones


def at_least(geometry: Geometry) -> Geometry:
    """The RoIs with sides of at least ``LEAST`` cells."""
    y, h, x, w = geometry
    return y, _clamp(h), x, _clamp(w)


def _clamp(size: Tensor) -> Tensor:
    return size.clamp(min=LEAST) + 0 * size  # NaN for an infinite side, also a negative one


def axes(geometry: Geometry, cells: Cells, rule: str) -> tuple[Axis, Axis]:
    """A row axis and a column axis for every place: axes of R·S regions of one bin each; without a cell, of size 0."""
    y, height, x, width = geometry
    found = []
    for lo, size, count, at in ((y, height, cells.height, cells.row), (x, width, cells.width, cells.col)):
        beta = (size / count.to(size.dtype))[:, None]
        start = lo[:, None] + at.to(lo.dtype) * beta
        found.append(Axis(start.reshape(-1), (beta * cells.exists).reshape(-1), 1, rule))
    return found[0], found[1]
