"""The definition, in plain PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def winners(maps: Sequence[Tensor], batch: Tensor, level: Tensor, row_window: Tensor, col_window: Tensor) -> Tensor:
    """The cell v·W + u of the largest x[b, c, v, u] in each bin's window: int32 [R, C, h, w], -1 for an empty bin, -2
    where a row's window starts before the map: a box that is not a number.

    Ties go to the first cell in raster order; a NaN never wins over a number.
    """
    channels, h, w = maps[0].shape[1], row_window.shape[1], col_window.shape[1]
    if not len(batch):
        return torch.zeros((0, channels, h, w), dtype=torch.int32, device=batch.device)
    found = []
    for at_level, image, rows, cols in zip(
        level.tolist(), batch.tolist(), row_window.tolist(), col_window.tolist(), strict=True
    ):
        x = maps[at_level][image]
        x = torch.where(torch.isnan(x), torch.full_like(x, -torch.inf), x)
        for v0, v1 in rows:
            for u0, u1 in cols:
                if v0 < 0 or v1 <= v0 or u1 <= u0:
                    none = -2 if v0 < 0 else -1
                    found.append(torch.full((channels,), none, dtype=torch.int64, device=x.device))
                else:
                    best = x[:, v0:v1, u0:u1].flatten(1).argmax(1)
                    found.append((v0 + best // (u1 - u0)) * x.shape[2] + u0 + best % (u1 - u0))
    return torch.stack(found, 1).unflatten(1, (len(batch), h, w)).transpose(0, 1).to(torch.int32).contiguous()


def gather(maps: Sequence[Tensor], index: Tensor, batch: Tensor, level: Tensor) -> Tensor:
    """x[b_r, c, index[r, c, …]], 0 where the index is -1, NaN where it is -2."""
    channels = index.shape[1]
    out = maps[0].new_zeros(index.shape)
    cell = index.to(torch.int64)
    channel = torch.arange(channels, device=index.device)[None, :, None]
    for at_level, x in enumerate(maps):
        here = (level == at_level)[:, None, None, None] & (cell >= 0)
        cells = x.shape[2] * x.shape[3]
        at = torch.where(here, cell, torch.zeros_like(cell)).clamp(max=cells - 1).flatten(2)
        image = torch.where(level == at_level, batch, torch.zeros_like(batch))
        flat = (image[:, None, None] * channels + channel) * cells + at
        values = x.reshape(-1)[flat].reshape(index.shape)
        out = torch.where(here, values, out)
    return torch.where(cell == -2, torch.nan, out)


def scatter(grad: Tensor, index: Tensor, batch: Tensor, level: Tensor, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """The transpose of ``gather``: one [B, C, H_l, W_l] per level."""
    channel = torch.arange(index.shape[1], device=index.device)[None, :, None]
    cell = index.to(torch.int64)
    out = []
    for at_level, shape in enumerate(shapes):
        here = (level == at_level)[:, None, None, None] & (cell >= 0)
        cells = shape[2] * shape[3]
        at = torch.where(here, cell, torch.zeros_like(cell)).flatten(2)
        image = torch.where(level == at_level, batch, torch.zeros_like(batch))
        flat = (image[:, None, None] * shape[1] + channel) * cells + at
        part = torch.where(here, grad, torch.zeros_like(grad))
        total = part.new_zeros(shape[0] * shape[1] * cells)
        out.append(total.index_add(0, flat.reshape(-1), part.reshape(-1)).reshape(list(shape)))
    return out
