"""Multi-head self-attention over the cells of each RoI."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..sums.exact import exact


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al., 2017): softmax(Q Kᵀ / √d) V in every head, then a linear layer.

    Written out, because torch's fused kernels have no second derivative and no forward mode.

    Args:
        channels: of the cells, a multiple of ``heads``.
        heads: number of heads.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or channels < 1 or channels % heads:
            raise ValueError(f"heads must divide the channels, but there are {heads} heads and {channels} channels")
        self.heads = heads
        self.read = nn.Linear(channels, 3 * channels)  # queries, keys, values
        self.write = nn.Linear(channels, channels)

    def forward(self, cells: Tensor) -> Tensor:
        """``Tensor[R, K, C]`` from ``Tensor[R, K, C]``."""
        queries, keys, values = self._read(cells)
        return self.write((_shares(queries, keys) @ values).transpose(1, 2).flatten(2))

    def shares(self, cells: Tensor) -> Tensor:
        """How much each cell attends to each: ``Tensor[R, heads, K, K]`` from ``Tensor[R, K, C]``, rows sum to 1."""
        queries, keys, _ = self._read(cells)
        return _shares(queries, keys)

    def _read(self, cells: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, ``Tensor[R, heads, K, C / heads]`` each."""
        queries, keys, values = self.read(cells).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return queries, keys, values


def _shares(queries: Tensor, keys: Tensor) -> Tensor:
    return torch.softmax(queries @ keys.transpose(2, 3) / queries.shape[3] ** 0.5, 3)


@exact  # what pooling is by default too: autocast changes nothing
def over_cells(pooled: Tensor, layer: nn.Module) -> Tensor:
    """A layer of cells ``Tensor[R, K, C]`` on region features ``Tensor[R, C, h, w]``, in the layer's precision."""
    dtype = next(layer.parameters()).dtype
    cells = pooled.flatten(2).transpose(1, 2).to(dtype)
    return layer(cells).transpose(1, 2).to(pooled.dtype).unflatten(2, pooled.shape[2:])
