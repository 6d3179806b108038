"""Where a separable sum reads: rows and columns that the bins of a RoI share."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import Tensor

from ..axes import Axes


@dataclasses.dataclass(frozen=True)
class Grid:
    """h × w bins of each of R RoIs."""

    batch: Tensor
    level: Tensor
    axes: Axes

    fixed = ()

    def definition(self, sizes: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        return self.axes.taps(self.level, sizes)

    def counted(self, axis: int, taps: Tensor) -> Tensor:
        return self.axes.counted(axis, taps)

    def shape(self, channels: int) -> tuple[int, ...]:
        return (self.batch.shape[0], channels, *self.axes.bins)

    def taps_shape(self, axis: int, width: int) -> tuple[int, ...]:
        return (self.batch.shape[0], self.axes.bins[axis], width)

    def check(self, shapes: Sequence[Sequence[int]]) -> None:
        """All channels are read, and cells are those of the map."""
