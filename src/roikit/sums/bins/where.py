"""Where a sum over bins reads: each bin has rows, columns and channels of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from .. import indices
from ..axes import Axes


@dataclasses.dataclass(frozen=True)
class Bins:
    """K bins of each of R RoIs. Output channel c of bin k reads channel base[r, k] + c · step, c < run.

    Each bin has rows and columns of its own, or, by a rule, those of its place in a grid: see ``each_bin``.
    """

    batch: Tensor
    level: Tensor
    axes: Axes
    base: Tensor
    step: int
    run: int

    @property
    def fixed(self) -> tuple[Tensor, int, int]:
        return self.base, self.step, self.run

    def definition(self, sizes: Sequence[Sequence[int]]) -> tuple[Tensor | int, ...]:
        return *each_bin(self.base.shape[1], *self.axes.taps(self.level, sizes)), *self.fixed

    def channels(self) -> Tensor:
        """``base``, contiguous; [1, K] where all RoIs read the same channels."""
        return (self.base[:1] if self.base.stride(0) == 0 else self.base).contiguous()

    def own_axes(self) -> Axes:
        """Rows and columns of every bin."""
        rows, cols = each_bin(self.base.shape[1], self.axes.rows, self.axes.cols)
        return dataclasses.replace(self.axes, rows=rows, cols=cols)

    def counted(self, axis: int, taps: Tensor) -> Tensor:
        return self.axes.counted(axis, taps)

    def shape(self, channels: int) -> tuple[int, ...]:
        return (self.base.shape[0], self.run, self.base.shape[1])

    def taps_shape(self, axis: int, width: int) -> tuple[int, ...]:
        return (*self.base.shape, width)

    def check(self, shapes: Sequence[Sequence[int]]) -> None:
        """The kernels read channels by number: none may lie outside the map. On a GPU, where reading the numbers would
        wait for all that runs there, a bin with such channels gives NaN."""
        channels = shapes[0][1]
        if channels % self.step:
            raise ValueError(f"{channels} channels do not divide into groups of {self.step}")
        if self.base.numel() and self.run and indices.readable(self.base):
            low, high = (int(v) for v in torch.aminmax(self.channels()))
            if low < 0 or high + (self.run - 1) * self.step >= channels:
                raise ValueError(
                    f"a bin reads channels {low} to {high + (self.run - 1) * self.step}, but the map has {channels}"
                )


def each_bin(bins: int, rows: Tensor, cols: Tensor) -> tuple[Tensor, Tensor]:
    """``Tensor[R, bins, …]`` of rows and of columns: as they are where each bin has its own, or of the h rows and w
    columns of a grid whose bin k is (k div w mod h, k mod w)."""
    h, w = rows.shape[1], cols.shape[1]
    k = torch.arange(bins, device=rows.device)
    return rows if h == bins else rows[:, k // w % h], cols if w == bins else cols[:, k % w]
