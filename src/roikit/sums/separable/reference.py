"""The definition, in plain PyTorch. T(x, rows, cols, g) = Σ g[r,c,i,j] · rows[r,i,v] · cols[r,j,u] · x[b_r,c,v,u]
is linear in each of its four arguments; the functions here are its partial derivatives.

Maps are [B, C, H_l, W_l], one per level; taps are [R, bins, N] with N at least the largest map's side.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..exact import exact
from ..groups import counted, groups, joined

CHUNK = 32  # RoIs at a time: bounds the intermediate [CHUNK, C, H, W]


@exact
def pool(maps: Sequence[Tensor], batch: Tensor, level: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """∂T/∂g: [R, C, h, w]."""
    parts, found = [], list(groups(batch, level, len(maps), CHUNK))
    for at, which, _ in found:
        x = maps[at][batch[which]]
        row, col = rows[which, :, : x.shape[2]], cols[which, :, : x.shape[3]]
        parts.append(torch.einsum("rcvj,riv->rcij", torch.einsum("rcvu,rju->rcvj", x, col), row))
    return joined(parts, found, maps[0].new_zeros(rows.shape[0], maps[0].shape[1], rows.shape[1], cols.shape[1]))


@exact
def spread(
    grad: Tensor, batch: Tensor, level: Tensor, rows: Tensor, cols: Tensor, shapes: Sequence[Sequence[int]]
) -> list[Tensor]:
    """∂T/∂x: one [B, C, H_l, W_l] per level."""
    maps = [grad.new_zeros(shape) for shape in shapes]
    for at, which, own in groups(batch, level, len(shapes), CHUNK):
        row, col = rows[which, :, : shapes[at][2]], cols[which, :, : shapes[at][3]]
        part = torch.einsum("rcvj,rju->rcvu", torch.einsum("rcij,riv->rcvj", grad[which], row), col)
        maps[at] = maps[at].index_add(0, batch[which], counted(part, own))
    return maps


@exact
def grad_taps(
    maps: Sequence[Tensor], grad: Tensor, batch: Tensor, level: Tensor, other: Tensor, axis: int, width: int
) -> Tensor:
    """∂T/∂rows (axis 0, from the columns ``other``) or ∂T/∂cols: [R, bins, width]."""
    if axis == 1:  # the rows' derivative of the transposed maps
        maps, grad = [x.transpose(2, 3) for x in maps], grad.transpose(2, 3)
    parts, found = [], list(groups(batch, level, len(maps), CHUNK))
    for at, which, _ in found:
        x = maps[at][batch[which]]
        line = torch.einsum("rcij,rju->rciu", grad[which], other[which, :, : x.shape[3]])
        parts.append(pad(torch.einsum("rciu,rcvu->riv", line, x), (0, width - x.shape[2])))
    return joined(parts, found, grad.new_zeros(grad.shape[0], grad.shape[2], width))
