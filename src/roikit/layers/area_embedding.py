"""What a cell of a grid of any size covers, as a vector of fixed length (SRA Eqs. 4 and 6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..geometry.dynamic_grid import Cells


def covered(count: int, length: int) -> Tensor:
    """Each of ``count`` equal parts of an axis as a vector: one-hot of length ``count``, resized linearly.

    Half-pixel centres, the ends held (``align_corners=False``).

    Args:
        count: number of parts.
        length: of the vectors, at least ``count``.

    Returns:
        int32 ``Tensor[count, length]``, in units of 1 / (2 · length), in which all of them are whole numbers.

    Example:
        >>> covered(2, 4) / 8
        tensor([[1.0000, 0.7500, 0.2500, 0.0000],
                [0.0000, 0.2500, 0.7500, 1.0000]])
    """
    unit = 2 * length
    at = ((2 * torch.arange(length) + 1) * count - length).clamp(0, unit * (count - 1))
    return (unit - (at - unit * torch.arange(count)[:, None]).abs()).clamp(min=0).int()


class AreaEmbedding(nn.Module):
    """Area Embedding (SRA Eq. 6): where a cell lies and how much of the RoI it covers, on both axes.

    Row r of h, and column c of w, as vectors of length L (``covered``), one beside the other. Cells of coarse grids
    cover many entries and those of fine grids few, so one linear layer reads both alike.

    Args:
        length: L, at least the number of rows and of columns of any grid.
    """

    table: Tensor

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length
        rows = torch.cat([covered(count, length) for count in range(1, length + 1)])  # part r of h at h(h-1)/2 + r
        self.register_buffer("table", rows, persistent=False)

    def forward(self, cells: Cells, dtype: torch.dtype) -> Tensor:
        """``Tensor[R, S, 2·L]`` in ``dtype``; no gradient."""
        table = self.table.to(dtype) / (2 * self.length)
        sides = ((cells.height, cells.row), (cells.width, cells.col))
        return torch.cat([table[(n * (n - 1) // 2)[:, None] + at] for n, at in sides], 2)

    @property
    def channels(self) -> int:
        return 2 * self.length


class RelativePosition(nn.Module):
    """Relative positions (SRA Eq. 4): the cell's centre in its RoI, from -1 to 1, (y, x)."""

    channels = 2

    def forward(self, cells: Cells, dtype: torch.dtype) -> Tensor:
        """``Tensor[R, S, 2]`` in ``dtype``; no gradient."""
        sides = ((cells.height, cells.row), (cells.width, cells.col))
        return torch.stack([(2 * at + 1).to(dtype) / n[:, None].to(dtype) - 1 for n, at in sides], 2)
