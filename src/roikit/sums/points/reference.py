"""The definition, in plain PyTorch, of

    T(x, rows, cols, g) = Σ g[r,c,k] · rows[r,k,p,a] · cols[r,k,p,b] · x[b_r, c, v_rkp + a, u_rkp + b],   a, b ∈ {0, 1}

and of its partial derivatives; a cell beyond the map counts as 0.

Maps are [B, C, H_l, W_l], one per level; taps are [R, K, P, 2]; ``low`` [R, K, P, 2] holds the cells (v, u).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..exact import exact
from ..groups import counted, groups, joined

CHUNK = 32  # RoIs at a time: bounds the intermediate [CHUNK, K, P, C]
CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))


def cell_index(low: Tensor, batch: Tensor, a: int, b: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Index [r, K, P] of the cell (v + a, u + b) in the flat map [B·H·W], and whether the map has that cell."""
    v, u = low[..., 0].long() + a, low[..., 1].long() + b
    inside = (v >= 0) & (v < height) & (u >= 0) & (u < width)
    index = (batch[:, None, None] * height + v.clamp(0, height - 1)) * width + u.clamp(0, width - 1)
    return index, inside


def _flat(x: Tensor) -> Tensor:
    """[B, C, H, W] as [B·H·W, C]."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


@exact
def pool(maps: Sequence[Tensor], batch: Tensor, level: Tensor, rows: Tensor, cols: Tensor, low: Tensor) -> Tensor:
    """∂T/∂g: [R, C, K]."""
    parts, found = [], list(groups(batch, level, len(maps), CHUNK))
    for at, which, _ in found:
        flat, size = _flat(maps[at]), maps[at].shape[2:]
        corners = []
        for a, b in CORNERS:
            index, inside = cell_index(low[which], batch[which], a, b, *size)
            weight = rows[which][..., a] * cols[which][..., b] * inside
            corners.append(torch.einsum("rkp,rkpc->rck", weight, flat[index]))
        parts.append(corners[0] + corners[1] + corners[2] + corners[3])
    return joined(parts, found, maps[0].new_zeros(rows.shape[0], maps[0].shape[1], rows.shape[1]))


@exact
def spread(
    grad: Tensor,
    batch: Tensor,
    level: Tensor,
    rows: Tensor,
    cols: Tensor,
    low: Tensor,
    shapes: Sequence[Sequence[int]],
) -> list[Tensor]:
    """∂T/∂x: one [B, C, H_l, W_l] per level."""
    flat = [grad.new_zeros(images * height * width, channels) for images, channels, height, width in shapes]
    for at, which, own in groups(batch, level, len(shapes), CHUNK):
        for a, b in CORNERS:
            index, inside = cell_index(low[which], batch[which], a, b, *shapes[at][2:])
            weight = rows[which][..., a] * cols[which][..., b] * inside
            part = counted(torch.einsum("rkp,rck->rkpc", weight, grad[which]), own)
            flat[at] = flat[at].index_add(0, index.flatten(), part.flatten(0, 2))
    maps = []
    for cells, (images, channels, height, width) in zip(flat, shapes, strict=True):
        maps.append(cells.reshape(images, height, width, channels).permute(0, 3, 1, 2))
    return maps


@exact
def grad_taps(
    maps: Sequence[Tensor],
    grad: Tensor,
    batch: Tensor,
    level: Tensor,
    other: Tensor,
    low: Tensor,
    axis: int,
    width: int,
) -> Tensor:
    """∂T/∂rows (axis 0, from the columns ``other``) or ∂T/∂cols: [R, K, P, 2]."""
    parts, found = [], list(groups(batch, level, len(maps), CHUNK))
    for at, which, _ in found:
        flat, size = _flat(maps[at]), maps[at].shape[2:]
        taps = []
        for a in (0, 1):
            total = []
            for b in (0, 1):
                index, inside = cell_index(low[which], batch[which], *((a, b) if axis == 0 else (b, a)), *size)
                dot = torch.einsum("rck,rkpc->rkp", grad[which], flat[index])
                total.append(dot * (other[which][..., b] * inside))
            taps.append(total[0] + total[1])
        parts.append(torch.stack(taps, -1))
    return joined(parts, found, torch.zeros_like(other))
