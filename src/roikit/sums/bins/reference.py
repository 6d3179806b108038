"""The definition, in plain PyTorch, of

    T(x, rows, cols, g) = Σ g[r,c,k] · rows[r,k,v] · cols[r,k,u] · x[b_r, m, v, u],   m = base[r,k] + c · step

which is linear in each of its four arguments; the functions here are its partial derivatives.

Maps are [B, C, H_l, W_l], one per level; taps are [R, K, N] with N at least the largest map's side; ``run`` is the
number of output channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..exact import exact
from ..groups import counted, groups, joined

CHUNK = 8  # RoIs at a time: bounds the intermediate [CHUNK, K, run, H, W]


def _read(x: Tensor, base: Tensor, step: int, run: int) -> Tensor:
    """The channels that each bin reads of [r, C, H, W]: [r, K or 1, run, H, W]."""
    if run == x.shape[1]:  # every bin reads all channels: none is copied
        return x[:, None]
    channel = base[..., None] + step * torch.arange(run, device=base.device)  # [r, K, run]
    roi = torch.arange(x.shape[0], device=x.device)[:, None, None]
    return x[roi, channel]


@exact
def pool(
    maps: Sequence[Tensor], batch: Tensor, level: Tensor, rows: Tensor, cols: Tensor, base: Tensor, step: int, run: int
) -> Tensor:
    """∂T/∂g: [R, run, K]."""
    parts, found = [], list(groups(batch, level, len(maps), CHUNK))
    for at, which, _ in found:
        x = _read(maps[at][batch[which]], base[which], step, run)
        row, col = rows[which, :, : x.shape[3]], cols[which, :, : x.shape[4]]
        if x.shape[1] == 1:
            cells = torch.einsum("rkv,rku->rkvu", row, col)
            parts.append(torch.einsum("rkvu,rcvu->rck", cells, x[:, 0]))
        else:
            parts.append(torch.einsum("rkcv,rkv->rck", torch.einsum("rkcvu,rku->rkcv", x, col), row))
    return joined(parts, found, maps[0].new_zeros(rows.shape[0], run, rows.shape[1]))


@exact
def spread(
    grad: Tensor,
    batch: Tensor,
    level: Tensor,
    rows: Tensor,
    cols: Tensor,
    base: Tensor,
    step: int,
    run: int,
    shapes: Sequence[Sequence[int]],
) -> list[Tensor]:
    """∂T/∂x: one [B, C, H_l, W_l] per level."""
    maps = [grad.new_zeros(shape) for shape in shapes]
    for at, which, own in groups(batch, level, len(shapes), CHUNK):
        _, channels, height, width = shapes[at]
        row, col = rows[which, :, :height], cols[which, :, :width]
        if run == channels:
            cells = torch.einsum("rkv,rku->rkvu", row, col)
            part = torch.einsum("rkvu,rck->rcvu", cells, grad[which])
        else:
            each = torch.einsum("rkv,rku,rck->rkcvu", row, col, grad[which])
            channel = base[which][..., None] + step * torch.arange(run, device=base.device)
            roi = torch.arange(len(which), device=base.device)[:, None, None]
            part = each.new_zeros(len(which), channels, height, width).index_put((roi, channel), each, accumulate=True)
        maps[at] = maps[at].index_add(0, batch[which], counted(part, own))
    return maps


@exact
def grad_taps(
    maps: Sequence[Tensor],
    grad: Tensor,
    batch: Tensor,
    level: Tensor,
    other: Tensor,
    base: Tensor,
    step: int,
    run: int,
    axis: int,
    width: int,
) -> Tensor:
    """∂T/∂rows (axis 0, from the columns ``other``) or ∂T/∂cols: [R, K, width]."""
    if axis == 1:  # the rows' derivative of the transposed maps
        maps = [x.transpose(2, 3) for x in maps]
    parts, found = [], list(groups(batch, level, len(maps), CHUNK))
    for at, which, _ in found:
        x = _read(maps[at][batch[which]], base[which], step, run)
        col = other[which, :, : x.shape[4]]
        if x.shape[1] == 1:
            line = torch.einsum("rck,rku->rkcu", grad[which], col)
            part = torch.einsum("rkcu,rcvu->rkv", line, x[:, 0])
        else:
            part = torch.einsum("rkcv,rck->rkv", torch.einsum("rkcvu,rku->rkcv", x, col), grad[which])
        parts.append(pad(part, (0, width - x.shape[3])))
    return joined(parts, found, grad.new_zeros(grad.shape[0], grad.shape[2], width))
