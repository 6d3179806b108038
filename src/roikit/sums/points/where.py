"""Where a sum over free points reads: bilinear samples, as points with weights or as taps with their low cells."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..maps import cells_of


@dataclasses.dataclass(frozen=True)
class Samples:
    """The samples of K bins of each of R RoIs: points [R, K, P, 2] with weights [R, K, P]; or row and column taps and
    low cells, [R, K, P, 2] each."""

    batch: Tensor
    level: Tensor
    points: Tensor | None = None
    weights: Tensor | None = None
    rows: Tensor | None = None
    cols: Tensor | None = None
    low: Tensor | None = None

    @property
    def size(self) -> tuple[int, int, int]:
        """R, K and P."""
        where = self.points if self.low is None else self.low
        assert where is not None
        return where.shape[0], where.shape[1], where.shape[2]

    @property
    def fixed(self) -> tuple[Tensor, ...]:
        return () if self.low is None else (self.low,)

    def definition(self, sizes: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, Tensor]:
        """Rows, columns and low cells, as given or made of points."""
        if self.rows is not None and self.cols is not None and self.low is not None:
            return self.rows, self.cols, self.low
        assert self.points is not None and self.weights is not None
        return taps(self.points, self.weights, cells_of(sizes, self.level))

    def counted(self, axis: int, taps: Tensor) -> Tensor:
        return taps

    def shape(self, channels: int) -> tuple[int, ...]:
        return (self.size[0], channels, self.size[1])

    def taps_shape(self, axis: int, width: int) -> tuple[int, ...]:
        return (*self.size, 2)

    def check(self, shapes: Sequence[Sequence[int]]) -> None:
        """All channels are read, and the kernels leave out cells that a map does not have."""


def taps(points: Tensor, weights: Tensor, cells: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Each sample as a low cell, two row taps (its weight is in them) and two column taps.

    A sample < -1 or > N on either axis has row taps 0; otherwise it is moved onto [0, N - 1].

    Args:
        points: ``Tensor[R, K, P, 2]``, (y, x) in feature cells; the value of cell u lies at u.
        weights: ``Tensor[R, K, P]``.
        cells: the numbers of rows and of columns of each RoI's own map, ``Tensor[R]`` each.

    Returns:
        rows and cols ``Tensor[R, K, P, 2]``, differentiable, and low ``Tensor[R, K, P, 2]`` int32, (row, column).
    """
    found, lows = [], []
    counted: Any = True
    for at, count in zip(points.unbind(-1), cells, strict=True):
        n = count.to(at.dtype)[:, None, None]
        counted = counted & ~((at < -1) | (at > n))
        at = torch.minimum(at.clamp(min=0), n - 1)
        low = torch.floor(at.detach()).nan_to_num(0.0)
        part = (at - low) * (low < n - 1).to(at.dtype)  # on the last cell: its value, which does not change any more
        found.append(torch.stack([1 - part, part], -1))
        lows.append(low)
    rows, cols = found
    share = weights * counted.to(weights.dtype)
    return share[..., None] * rows, cols, torch.stack(lows, -1).to(torch.int32)
