"""The definition, in plain PyTorch. T(x, rows, cols, g) = Σ g[r,c,i,j] · rows[r,i,v] · cols[r,j,u] · x[b_r,c,v,u]
is linear in each of its four arguments; the four functions here are its four partial derivatives.

Maps are [B, C, H_l, W_l], one per level; taps are [R, bins, N] with N at least the largest map's side, and count only
inside their windows [first, stop).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..exact import exact

CHUNK = 128  # RoIs at a time: bounds the intermediate [CHUNK, bins, C, W]


def windowed(taps: Tensor, window: Tensor) -> Tensor:
    """Taps with 0 outside their windows."""
    cell = torch.arange(taps.shape[-1], device=taps.device)
    inside = (cell >= window[..., :1]) & (cell < window[..., 1:])
    return torch.where(inside, taps, torch.zeros_like(taps))


def _groups(batch: Tensor, level: Tensor, images: int, levels: int) -> Iterator[tuple[int, int, Tensor]]:
    """(level, image, which RoIs), a chunk of RoIs at a time."""
    for at_level in range(levels):
        for image in range(images):
            which = ((batch == image) & (level == at_level)).nonzero()[:, 0]
            for chunk in which.split(CHUNK):
                if len(chunk):
                    yield at_level, image, chunk


@exact
def pool(maps: Sequence[Tensor], batch: Tensor, level: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """∂T/∂g: [R, C, bins_y, bins_x]."""
    channels = maps[0].shape[1]
    out, order = [], []
    for at_level, image, which in _groups(batch, level, maps[0].shape[0], len(maps)):
        x = maps[at_level][image]
        row, col = rows[which, :, : x.shape[1]], cols[which, :, : x.shape[2]]
        out.append(torch.einsum("rivc,rjv->rcij", torch.einsum("riu,cuv->rivc", row, x), col))
        order.append(which)
    if not out:
        return maps[0].new_zeros(rows.shape[0], channels, rows.shape[1], cols.shape[1])
    return torch.cat(out)[torch.argsort(torch.cat(order))]


@exact
def spread(
    grad: Tensor, batch: Tensor, level: Tensor, rows: Tensor, cols: Tensor, shapes: Sequence[Sequence[int]]
) -> list[Tensor]:
    """∂T/∂x: one [B, C, H_l, W_l] per level."""
    maps = [[grad.new_zeros(shape[1:]) for _ in range(shape[0])] for shape in shapes]
    for at_level, image, which in _groups(batch, level, shapes[0][0], len(shapes)):
        height, width = shapes[at_level][2:]
        row, col = rows[which, :, :height], cols[which, :, :width]
        part = torch.einsum("riu,rivc->cuv", row, torch.einsum("rcij,rjv->rivc", grad[which], col))
        maps[at_level][image] = maps[at_level][image] + part
    return [torch.stack(images) for images in maps]


@exact
def grad_rows(
    maps: Sequence[Tensor], grad: Tensor, batch: Tensor, level: Tensor, row_window: Tensor, cols: Tensor, width: int
) -> Tensor:
    """∂T/∂rows: [R, bins_y, width], 0 outside ``row_window``."""
    out = grad.new_zeros(grad.shape[0], grad.shape[2], width)
    for at_level, image, which in _groups(batch, level, maps[0].shape[0], len(maps)):
        x = maps[at_level][image]
        col = cols[which, :, : x.shape[2]]
        part = torch.einsum("rivc,cuv->riu", torch.einsum("rcij,rjv->rivc", grad[which], col), x)
        out = out.index_put((which,), torch.nn.functional.pad(part, (0, width - part.shape[-1])))
    return windowed(out, row_window)


def grad_cols(
    maps: Sequence[Tensor], grad: Tensor, batch: Tensor, level: Tensor, rows: Tensor, col_window: Tensor, width: int
) -> Tensor:
    """∂T/∂cols: the rows' derivative of the transposed maps."""
    flipped = [x.transpose(2, 3) for x in maps]
    return grad_rows(flipped, grad.transpose(2, 3), batch, level, col_window, rows, width)
