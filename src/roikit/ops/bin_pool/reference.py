"""The definition, in plain PyTorch, of

    T(x, rows, cols, g) = Σ g[r,c,k] · rows[r,k,v] · cols[r,k,u] · x[b_r, base[r,k] + c·step, v, u]

and of its partial derivatives.

Maps are [B, C, H_l, W_l], one per level; taps are [R, K, N], zero outside their windows, with N at least the largest
map's side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..exact import exact

CHUNK = 8  # RoIs at a time: bounds the intermediate [CHUNK, K, H, W], with channels of their own [CHUNK, K, C, H, W]


def _groups(batch: Tensor, level: Tensor, images: int, levels: int) -> Iterator[tuple[int, int, Tensor]]:
    """(level, image, which RoIs), a chunk of RoIs at a time."""
    for at_level in range(levels):
        for image in range(images):
            which = ((batch == image) & (level == at_level)).nonzero()[:, 0]
            for chunk in which.split(CHUNK):
                if len(chunk):
                    yield at_level, image, chunk


def _channels(base: Tensor, step: int, run: int) -> Tensor:
    """Which channels each bin reads: [r, K, run]."""
    return base[..., None] + step * torch.arange(run, device=base.device)


@exact
def pool(
    maps: Sequence[Tensor], batch: Tensor, level: Tensor, rows: Tensor, cols: Tensor, base: Tensor, step: int, run: int
) -> Tensor:
    """∂T/∂g: [R, run, K]."""
    out, order = [], []
    for at_level, image, which in _groups(batch, level, maps[0].shape[0], len(maps)):
        x = maps[at_level][image]
        row, col = rows[which, :, : x.shape[1]], cols[which, :, : x.shape[2]]
        if run == x.shape[0]:  # every bin reads all channels: none is copied
            out.append(torch.einsum("rkvu,cvu->rck", torch.einsum("rkv,rku->rkvu", row, col), x))
        else:
            read = x[_channels(base[which], step, run)]  # [r, K, run, H, W]
            out.append(torch.einsum("rkv,rkcvu,rku->rck", row, read, col))
        order.append(which)
    if not out:
        return maps[0].new_zeros(rows.shape[0], run, rows.shape[1])
    return torch.cat(out)[torch.argsort(torch.cat(order))]


@exact
def spread(
    grad: Tensor,
    batch: Tensor,
    level: Tensor,
    rows: Tensor,
    cols: Tensor,
    base: Tensor,
    step: int,
    shapes: Sequence[Sequence[int]],
) -> list[Tensor]:
    """∂T/∂x: one [B, C, H_l, W_l] per level."""
    maps = [[grad.new_zeros(shape[1:]) for _ in range(shape[0])] for shape in shapes]
    for at_level, image, which in _groups(batch, level, shapes[0][0], len(shapes)):
        height, width = shapes[at_level][2:]
        row, col = rows[which, :, :height], cols[which, :, :width]
        if grad.shape[1] == shapes[at_level][1]:
            part = torch.einsum("rkvu,rck->cvu", torch.einsum("rkv,rku->rkvu", row, col), grad[which])
            maps[at_level][image] = maps[at_level][image] + part
            continue
        part = torch.einsum("rkv,rku,rck->rkcvu", row, col, grad[which])
        index = _channels(base[which], step, grad.shape[1]).flatten()
        maps[at_level][image] = maps[at_level][image].index_add(0, index, part.flatten(0, 2))
    return [torch.stack(images) for images in maps]


@exact
def grad_rows(
    maps: Sequence[Tensor],
    grad: Tensor,
    batch: Tensor,
    level: Tensor,
    cols: Tensor,
    base: Tensor,
    step: int,
    width: int,
) -> Tensor:
    """∂T/∂rows: [R, K, width]."""
    out = grad.new_zeros(grad.shape[0], grad.shape[2], width)
    for at_level, image, which in _groups(batch, level, maps[0].shape[0], len(maps)):
        x = maps[at_level][image]
        col = cols[which, :, : x.shape[2]]
        if grad.shape[1] == x.shape[0]:
            part = torch.einsum("rkcu,cvu->rkv", torch.einsum("rck,rku->rkcu", grad[which], col), x)
        else:
            read = x[_channels(base[which], step, grad.shape[1])]
            part = torch.einsum("rck,rkcvu,rku->rkv", grad[which], read, col)
        out = out.index_put((which,), torch.nn.functional.pad(part, (0, width - part.shape[-1])))
    return out


def grad_cols(
    maps: Sequence[Tensor],
    grad: Tensor,
    batch: Tensor,
    level: Tensor,
    rows: Tensor,
    base: Tensor,
    step: int,
    width: int,
) -> Tensor:
    """∂T/∂cols: the rows' derivative of the transposed maps."""
    return grad_rows([x.transpose(2, 3) for x in maps], grad, batch, level, rows, base, step, width)
