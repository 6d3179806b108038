"""A log-prior that gives each part of a region its place on a grid."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .init import steers

FARTHEST = 1e3  # standard deviations beyond which all cells are equally far


class GridPrior(nn.Module):
    """A Gaussian around the centre of each part's bin, half a bin wide but at least half a cell, as a logit of rows and
    one of columns: -(z - c)² / 2σ². Where the centres lie and how wide they are is learned, from the grid on.

    Args:
        grid: (h, w) of the parts.

    Example:
        >>> import torch
        >>> prior = GridPrior((1, 2))
        >>> prior(torch.tensor([[0.0, 0.0, 4.0, 2.0]]), torch.arange(4) + 0.5, 1.0, axis=1)[0].round().tolist()
        [[-0.0, -0.0, -1.0, -3.0], [-3.0, -1.0, -0.0, -0.0]]
    """

    def __init__(self, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        parts = grid[0] * grid[1]
        self.moved = nn.Parameter(torch.zeros(parts, 2))  # (y, x), in bins
        self.wider = nn.Parameter(torch.zeros(parts, 2))  # log of the factor on σ
        steers(self, "cells")

    def forward(self, boxes: Tensor, centres: Tensor, scale: float, axis: int) -> Tensor:
        """Logits ``Tensor[R, K, N]``.

        Args:
            boxes: ``Tensor[R, 4]`` in image pixels.
            centres: ``Tensor[N]`` of the cells on the axis, in image pixels.
            scale: cells per pixel.
            axis: 0 for rows, 1 for columns.
        """
        part = torch.arange(self.grid[0] * self.grid[1], device=boxes.device)
        place = part % self.grid[1] if axis else part // self.grid[1]
        low, high = (boxes[:, 0], boxes[:, 2]) if axis else (boxes[:, 1], boxes[:, 3])
        bin_ = ((high - low) / self.grid[axis])[:, None]  # [R, 1]
        centre = low[:, None] + (place + 0.5 + self.moved[:, axis].to(boxes.dtype)) * bin_  # [R, K]
        wide = (bin_ / 2).clamp(min=0.5 / scale) * self.wider[:, axis].to(boxes.dtype).exp()
        away = (centres.to(boxes.dtype) - centre[..., None]) / wide[..., None]
        return away.clamp(-FARTHEST, FARTHEST).square() / -2
