"""The definition, in plain PyTorch, of

    T(x, rows, cols, g) = Σ g[r,c,k] · rows[r,k,p,a] · cols[r,k,p,b] · x[b_r, c, v_rkp + a, u_rkp + b],   a, b ∈ {0, 1}

and of its partial derivatives; a cell beyond the map counts as 0.

Maps are [B, C, H_l, W_l], one per level; taps are [R, K, P, 2]; ``low`` [R, K, P, 2] holds the cells (v, u).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..exact import exact

CHUNK = 32  # RoIs at a time: bounds the intermediate [CHUNK, K, P, C]
CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))


def _groups(level: Tensor, levels: int) -> Iterator[tuple[int, Tensor]]:
    """(level, which RoIs), a chunk of RoIs at a time."""
    for at in range(levels):
        for chunk in (level == at).nonzero()[:, 0].split(CHUNK):
            if chunk.shape[0]:
                yield at, chunk


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
    out, order = [], []
    for at, which in _groups(level, len(maps)):
        flat, size = _flat(maps[at]), maps[at].shape[2:]
        total = []
        for a, b in CORNERS:
            index, inside = cell_index(low[which], batch[which], a, b, *size)
            weight = rows[which][..., a] * cols[which][..., b] * inside
            total.append(torch.einsum("rkp,rkpc->rck", weight, flat[index]))
        out.append(total[0] + total[1] + total[2] + total[3])
        order.append(which)
    if not out:
        return maps[0].new_zeros(rows.shape[0], maps[0].shape[1], rows.shape[1])
    return torch.cat(out)[torch.argsort(torch.cat(order))]


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
    for at, which in _groups(level, len(shapes)):
        for a, b in CORNERS:
            index, inside = cell_index(low[which], batch[which], a, b, *shapes[at][2:])
            weight = rows[which][..., a] * cols[which][..., b] * inside
            part = torch.einsum("rkp,rck->rkpc", weight, grad[which])
            flat[at] = flat[at].index_add(0, index.flatten(), part.flatten(0, 2))
    maps = []
    for found, (images, channels, height, width) in zip(flat, shapes, strict=True):
        maps.append(found.reshape(images, height, width, channels).permute(0, 3, 1, 2))
    return maps


@exact
def grad_rows(
    maps: Sequence[Tensor], grad: Tensor, batch: Tensor, level: Tensor, cols: Tensor, low: Tensor, transposed: bool
) -> Tensor:
    """∂T/∂rows: [R, K, P, 2]; ∂T/∂cols, from the rows as ``cols``, where ``transposed``."""
    out = torch.zeros_like(cols)
    for at, which in _groups(level, len(maps)):
        flat, size = _flat(maps[at]), maps[at].shape[2:]
        found = []
        for a in (0, 1):
            total = []
            for b in (0, 1):
                index, inside = cell_index(low[which], batch[which], *((b, a) if transposed else (a, b)), *size)
                dot = torch.einsum("rck,rkpc->rkp", grad[which], flat[index])
                total.append(dot * (cols[which][..., b] * inside))
            found.append(total[0] + total[1])
        out = out.index_put((which,), torch.stack(found, -1))
    return out
