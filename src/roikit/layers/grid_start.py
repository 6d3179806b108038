"""A start of Learned Region Features' geometric term from which each part already has a place in the region.

The logit of a Gaussian around the centre c_k of part k's bin is, up to what all cells share,

    -(z - c_k)² / 2σ² = (c_k · z - z² / 2) / σ² + …,   c_k = (1 - a_k) · start + a_k · end

for a coordinate z of a cell and those of the box: a product of (c_k, -½) and (z, z²). Sums of sines and cosines make
z, z² and 1 to a few parts in a million (least squares), so that matrices of Eq. 8 exist for which it is such a grid.
The box's corners enter one by one, so σ cannot follow its size: it is a number of pixels.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from .embeddings import sinusoidal

REACH = 1400.0  # image pixels from 0 on which z and z² are made
UNIT = 500.0  # image pixels; z is counted from the middle in it


@functools.cache
def _polynomials(dim: int) -> tuple[Tensor, float]:
    """``Tensor[3, dim]`` in float64: what makes 1, z and z² of an embedding, and the largest error."""
    with torch.device("cpu"):  # also of a model that is made without memory
        z = torch.arange(0, REACH, 4, dtype=torch.float64)
        wanted = torch.stack([torch.ones_like(z), (z - REACH / 2) / UNIT, ((z - REACH / 2) / UNIT).square()], 1)
        embedded = sinusoidal(z, dim)
        ridge = 1e-12 * len(z) * torch.eye(dim, dtype=torch.float64)
        found = torch.linalg.solve(embedded.T @ embedded + ridge, embedded.T @ wanted)
        return found.T.contiguous(), float((embedded @ found - wanted).abs().max())


@torch.no_grad()
def as_a_grid(shared: nn.Linear, parts: nn.Linear, position: nn.Linear, grid: tuple[int, int], width: float) -> None:
    """Write the grid into the first rows of V, Ŵ and W^im, in place; the other numbers stay as they are.

    Args:
        shared: V, from the embeddings of (x1, y1, x2, y2), 4·C_E, to C_E.
        parts: Ŵ, from C_E to K·C_g.
        position: W^im, from the embeddings of a cell's (x, y), 2·C_E, to C_g.
        grid: (h, w) of the parts.
        width: σ in image pixels; larger where embeddings are too small to make z² so exactly.
    """
    dim = shared.weight.shape[1] // 4
    made, error = _polynomials(dim)
    made = made.to(shared.weight)
    sigma = max(width, UNIT * error**0.5) / UNIT
    queries = parts.weight.view(grid[0] * grid[1], -1, parts.weight.shape[1])  # [K, C_g, C_E]
    if queries.shape[1] < 4 or queries.shape[2] < 5:
        return  # too narrow for a grid
    # The product is 1 / σ²; a step of one size in any of the three matrices shall change a logit alike.
    gain = (dim / sigma**2) ** (1 / 3)
    made, sharp = made * gain, 1 / (sigma * gain) ** 2
    shared.weight[:5] = 0
    for corner in range(4):  # V's rows 0 to 3 are x1, y1, x2, y2; row 4 is 1, of x1's embedding
        shared.weight[corner, corner * dim : (corner + 1) * dim] = made[1]
    shared.weight[4, :dim] = made[0]
    position.weight[:4] = 0
    queries[:, :4] = 0
    queries[:, :, :5] = 0
    for axis, count in ((0, grid[0]), (1, grid[1])):
        own = slice(0, dim) if axis else slice(dim, 2 * dim)  # x's embedding comes first
        linear, square = 2 * axis, 2 * axis + 1
        position.weight[linear, own], position.weight[square, own] = made[1], made[2]
        k = torch.arange(grid[0] * grid[1], device=queries.device)
        at = ((k % grid[1] if axis else k // grid[1]) + 0.5) / count
        start, end = (0, 2) if axis else (1, 3)
        queries[:, linear, start], queries[:, linear, end] = (1 - at) * sharp, at * sharp
        queries[:, square, 4] = -0.5 * sharp
