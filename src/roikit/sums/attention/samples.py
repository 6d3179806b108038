"""Which cells a region's support keeps when it is sampled: Ω = Ω^In ∪ Ω^Out (LRF Eqs. 10 and 11)."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Samples:
    """A grid of each region's own inside it, and a grid shared by all regions of an image outside of it.

    Args:
        table: int64 ``Tensor[R, 7]`` with rows (v0, v1, u0, u1, step_v, step_u, step_out), in cells of the region's own
            map. The inside is rows v0 ≤ v < v1 and columns u0 ≤ u < u1, of which every step_v-th row and step_u-th
            column from the first one is kept; of the rest every step_out-th row and column from cell 0, none where
            step_out is 0.

    Example:
        >>> samples = Samples(torch.tensor([[1, 4, 2, 6, 2, 3, 3]]))
        >>> samples.mask(6, 7)[0].int()
        tensor([[1, 0, 0, 1, 0, 0, 1],
                [0, 0, 1, 0, 0, 1, 0],
                [0, 0, 0, 0, 0, 0, 0],
                [1, 0, 1, 0, 0, 1, 1],
                [0, 0, 0, 0, 0, 0, 0],
                [0, 0, 0, 0, 0, 0, 0]], dtype=torch.int32)
    """

    table: Tensor

    def all(self) -> Samples:
        """Every cell of the support: steps of 1.

        Example:
            >>> Samples(torch.tensor([[1, 4, 2, 6, 2, 3, 3], [1, 4, 2, 6, 2, 3, 0]])).all().table[:, 4:].tolist()
            [[1, 1, 1], [1, 1, 0]]
        """
        return Samples(torch.cat([self.table[:, :4], self.table[:, 4:].clamp(max=1)], 1))

    def inside(self, height: int, width: int) -> Tensor:
        """Ω^In on a map of height × width cells: bool ``Tensor[R, height, width]``."""
        return self._grids(height, width)[0]

    def outside(self, height: int, width: int) -> Tensor:
        """Ω^Out: bool ``Tensor[R, height, width]``."""
        return self._grids(height, width)[1]

    def mask(self, height: int, width: int) -> Tensor:
        """Ω: bool ``Tensor[R, height, width]``."""
        inside, outside = self._grids(height, width)
        return inside | outside

    def _grids(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        v0, v1, u0, u1, step_v, step_u, step_out = self.table.unsqueeze(2).unbind(1)
        step_v, step_u = step_v.clamp(min=1), step_u.clamp(min=1)
        v, u = (torch.arange(count, device=self.table.device) for count in (height, width))
        row, col = (v >= v0) & (v < v1), (u >= u0) & (u < u1)
        row_in, col_in = row & ((v - v0) % step_v == 0), col & ((u - u0) % step_u == 0)
        coarse = step_out.clamp(min=1)
        row_out, col_out = (v % coarse == 0) & (step_out > 0), u % coarse == 0
        hole = row[:, :, None] & col[:, None, :]
        return row_in[:, :, None] & col_in[:, None, :], row_out[:, :, None] & col_out[:, None, :] & ~hole
