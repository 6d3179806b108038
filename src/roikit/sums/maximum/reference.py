"""The definition, in plain PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..groups import groups, joined

CHUNK = 8  # RoIs at a time: bounds the intermediate [CHUNK, C, H, W]


def select(
    maps: Sequence[Tensor], batch: Tensor, level: Tensor, row_window: Tensor, col_window: Tensor
) -> tuple[Tensor, Tensor]:
    """The largest x[b, c, v, u] in each bin's window, and its cell: see ``max_pool``."""
    index = winners(maps, batch, level, row_window, col_window)
    return pool(maps, batch, level, index), index


def winners(maps: Sequence[Tensor], batch: Tensor, level: Tensor, row_window: Tensor, col_window: Tensor) -> Tensor:
    """The cell v·W + u of the largest x[b, c, v, u] in each bin's window: int32 [R, C, h, w], -1 for an empty bin, -2
    where a row's window starts before the map.

    Of each row of the map the largest in a column's window is found first, then the largest of these: ties go to the
    first row, and in it to the first cell.
    """
    h, w = row_window.shape[1], col_window.shape[1]
    parts, found = [], list(groups(batch, level, len(maps), CHUNK))
    for at, which, _ in found:
        x = maps[at].detach()[batch[which]]
        x = torch.where(torch.isnan(x), -torch.inf, x)
        rows, cols = row_window[which].long(), col_window[which].long()
        lines = [_largest(x, cols[:, j]) for j in range(w)]  # [r, C, H] each, values and cells
        bins = []
        for i in range(h):
            for j, (line, u) in enumerate(lines):
                value, v = _largest(line, rows[:, i])
                v = v[..., None]
                cell = (v * x.shape[3] + torch.gather(u, 2, v))[..., 0]
                first = (rows[:, i, 0] * x.shape[3] + cols[:, j, 0])[:, None]
                cell = torch.where(value == -torch.inf, first, cell)  # of nothing but NaN or -∞, the first
                empty = (rows[:, i, 1] <= rows[:, i, 0]) | (cols[:, j, 1] <= cols[:, j, 0])
                cell = torch.where(empty[:, None], -1, cell)
                bins.append(torch.where((rows[:, i, 0] < 0)[:, None], -2, cell))
        parts.append(torch.stack(bins, 2).unflatten(2, (h, w)).to(torch.int32))
    shape = (batch.shape[0], maps[0].shape[1], h, w)
    return joined(parts, found, torch.zeros(shape, dtype=torch.int32, device=batch.device)).contiguous()


def _largest(x: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    """Of x [r, …, N] the first largest with a place in [first, stop), ``window`` [r, 2], and that place: [r, …]."""
    place = torch.arange(x.shape[-1], device=x.device)
    inside = (place >= window[:, :1]) & (place < window[:, 1:])
    within = torch.where(inside.reshape(x.shape[0], *[1] * (x.ndim - 2), -1), x, -torch.inf)
    found = within.argmax(-1, keepdim=True)
    return torch.gather(within, -1, found)[..., 0], found[..., 0]


def pool(maps: Sequence[Tensor], batch: Tensor, level: Tensor, index: Tensor) -> Tensor:
    """x[b_r, c, index[r, c, …]], 0 where the index is -1, NaN where it is -2."""
    channels = index.shape[1]
    out = maps[0].new_zeros(index.shape)
    cell = index.to(torch.int64)
    channel = torch.arange(channels, device=index.device)[None, :, None]
    for at_level, x in enumerate(maps):
        mine = (level == at_level)[:, None, None, None] & (cell >= 0)
        cells = x.shape[2] * x.shape[3]
        at = torch.where(mine, cell, torch.zeros_like(cell)).clamp(max=cells - 1).flatten(2)
        image = torch.where(level == at_level, batch, torch.zeros_like(batch))
        flat = (image[:, None, None] * channels + channel) * cells + at
        out = torch.where(mine, x.reshape(-1)[flat].reshape(index.shape), out)
    return torch.where(cell == -2, torch.nan, out)


def spread(grad: Tensor, batch: Tensor, level: Tensor, index: Tensor, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """The transpose of ``pool``: one [B, C, H_l, W_l] per level."""
    channel = torch.arange(index.shape[1], device=index.device)[None, :, None]
    cell = index.to(torch.int64)
    out = []
    for at_level, shape in enumerate(shapes):
        mine = (level == at_level)[:, None, None, None] & (cell >= 0)
        cells = shape[2] * shape[3]
        at = torch.where(mine, cell, torch.zeros_like(cell)).flatten(2)
        image = torch.where(level == at_level, batch, torch.zeros_like(batch))
        flat = (image[:, None, None] * shape[1] + channel) * cells + at
        part = torch.where(mine, grad, torch.zeros_like(grad))
        total = part.new_zeros(shape[0] * shape[1] * cells)
        out.append(total.index_add(0, flat.reshape(-1), part.reshape(-1)).reshape(list(shape)))
    return out
