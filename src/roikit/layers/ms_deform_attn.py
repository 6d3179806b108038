"""Multi-scale deformable attention."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample


def attend(value: Tensor, sizes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor) -> Tensor:
    """Samples of several maps, added up (Zhu et al., Deformable DETR, ICLR 2021, Eq. 3).

    Args:
        value: ``Tensor[B, ΣH·W, heads, C]``, the cells of all maps, row by row, map after map.
        sizes: (H, W) of each map.
        locations: ``Tensor[B, Q, heads, maps, points, 2]``, (x, y) from 0 to 1 over each map; outside it is 0.
        weights: ``Tensor[B, Q, heads, maps, points]``.

    Returns:
        ``Tensor[B, Q, heads · C]``.
    """
    batch, _, heads, channels = value.shape
    read = []
    for level, part in enumerate(value.split([height * width for height, width in sizes], 1)):
        maps = part.permute(0, 2, 3, 1).reshape(batch * heads, channels, *sizes[level])
        grid = (2 * locations[:, :, :, level] - 1).transpose(1, 2).flatten(0, 1)  # [B·heads, Q, points, 2]
        read.append(grid_sample(maps, grid, align_corners=False))
    shares = weights.transpose(1, 2).flatten(3).flatten(0, 1)[:, None]  # [B·heads, 1, Q, maps·points]
    out = (torch.cat(read, -1) * shares).sum(-1)
    return out.view(batch, heads * channels, -1).transpose(1, 2).contiguous()


class MSDeformAttn(nn.Module):
    """Each query reads a few points of several maps near its reference point, and adds them up by a softmax.

    Offsets (in cells of the map) and softmax come from the query; offsets start as a star, farther out from point to
    point, each head in a direction of its own, the softmax as a mean.

    Args:
        channels: of queries, maps and the result, a multiple of ``heads``.
        levels: maps.
        heads, points: of the attention.

    Raises:
        ValueError: channels that do not divide into heads.

    Names of parameters are those of the authors' code.

    Example:
        >>> import torch
        >>> attention = MSDeformAttn(12, levels=1, heads=3)
        >>> attention(torch.rand(2, 5, 12), torch.rand(5, 1, 2), torch.rand(2, 24, 12), [(4, 6)]).shape
        torch.Size([2, 5, 12])
    """

    def __init__(self, channels: int, levels: int, heads: int, points: int = 4) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"channels={channels} must be a multiple of heads={heads}")
        self.levels, self.heads, self.points = levels, heads, points
        self.sampling_offsets = nn.Linear(channels, heads * levels * points * 2)
        self.attention_weights = nn.Linear(channels, heads * levels * points)
        self.value_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels)
        angle = torch.arange(heads) * (2 * math.pi / heads)
        star = torch.stack([angle.cos(), angle.sin()], -1)
        star = star / star.abs().amax(-1, keepdim=True)
        far = torch.arange(1, points + 1)
        start = star[:, None, None] * far[:, None]  # [heads, 1, points, 2]
        with torch.no_grad():
            for layer in (self.sampling_offsets, self.attention_weights):
                layer.weight.zero_()
            self.attention_weights.bias.zero_()
            self.sampling_offsets.bias.copy_(start.expand(-1, levels, -1, -1).flatten())
            for layer in (self.value_proj, self.output_proj):
                nn.init.xavier_uniform_(layer.weight)
                layer.bias.zero_()

    def forward(self, query: Tensor, reference: Tensor, cells: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """``Tensor[B, Q, C]``.

        Args:
            query: ``Tensor[B, Q, C]``.
            reference: ``Tensor[Q, levels, 2]`` or ``[Q, 1, 2]``, (x, y) from 0 to 1.
            cells: ``Tensor[B, ΣH·W, C]``, of all maps.
            sizes: (H, W) of each map.
        """
        value = self.value_proj(cells).unflatten(2, (self.heads, -1))
        offset = self.sampling_offsets(query).unflatten(2, (self.heads, self.levels, self.points, 2))
        weights = self.attention_weights(query).unflatten(2, (self.heads, -1)).softmax(-1)
        sides = query.new_tensor([[width, height] for height, width in sizes])
        locations = reference[None, :, None, :, None] + offset / sides[:, None]
        found = attend(value, sizes, locations, weights.unflatten(3, (self.levels, self.points)))
        return self.output_proj(found)
