"""The definition, in plain PyTorch, of

    w[r,k,v,u] = softmax over (v, u) in Ω_r of  rows[r,k,v] + cols[r,k,u] + bias[b_r,k,v,u]
    y[r,k,c]   = Σ w[r,k,v,u] · x[b_r,c,v,u]

and of its first and second derivatives, which torch can differentiate further. Maps are [B, C, H_l, W_l], one per
level, and so is the bias; rows and columns are at least as wide as the largest map. A logit of -∞ is outside of Ω; a
region with an empty Ω gives 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..exact import exact
from .samples import Samples

CHUNK = 8  # RoIs at a time: bounds the intermediate [CHUNK, K, H, W]


def weights(rows: Tensor, cols: Tensor, bias: Tensor | None, samples: Samples | None) -> Tensor:
    """w, written out: [R, K, H, W] from rows [R, K, H], columns [R, K, W] and a bias that broadcasts to that."""
    logits = rows[:, :, :, None] + cols[:, :, None, :]
    if bias is not None:
        logits = logits + bias
    if samples is not None:
        inside = samples.mask(rows.shape[2], cols.shape[2])[:, None]
        logits = torch.where(inside, logits, -torch.inf)
    highest = logits.detach().amax((2, 3), keepdim=True)
    powers = torch.exp(logits - torch.where(highest == -torch.inf, 0, highest))
    total = powers.sum((2, 3), keepdim=True)
    return powers / torch.where(total == 0, 1, total)


def _chunks(batch: Tensor, level: Tensor, images: int, levels: int) -> Iterator[tuple[int, int, Tensor]]:
    """(level, image, which RoIs), a chunk of RoIs at a time."""
    for at_level in range(levels):
        for image in range(images):
            which = ((batch == image) & (level == at_level)).nonzero()[:, 0]
            for chunk in which.split(CHUNK):
                if chunk.shape[0]:
                    yield at_level, image, chunk


def _weights_of(maps, bias, rows, cols, table, level, image, which) -> Tensor:
    height, width = maps[level].shape[2:]
    return weights(
        rows[which, :, :height],
        cols[which, :, :width],
        bias[level][image] if bias else None,
        None if table is None else Samples(table[which]),
    )


def _change(
    rows: Tensor, cols: Tensor, bias: Sequence[Tensor], x: Tensor, at: int, image: int, which: Tensor
) -> Tensor:
    """The change of a chunk's logits, [r, K, H, W], from changes of rows, columns and bias."""
    height, width = x.shape[1:]
    change = rows[which, :, :height, None] + cols[which, :, None, :width]
    return change + bias[at][image] if bias else change


def _in_order(parts: list[Tensor], order: list[Tensor], maps: Sequence[Tensor], rows: Tensor) -> Tensor:
    if not parts:
        return rows.new_zeros(rows.shape[0], rows.shape[1], maps[0].shape[1])
    return torch.cat(parts)[torch.argsort(torch.cat(order))]


class _Sums:
    """Gradients of [rows, cols, *maps, *bias], added up chunk by chunk without writing in place."""

    def __init__(self, maps, bias, rows, cols):
        self.rows, self.cols = torch.zeros_like(rows), torch.zeros_like(cols)
        self.empty = [torch.zeros_like(x) for x in (*maps, *bias)]
        self.maps = [list(zeros.unbind()) for zeros in self.empty[: len(maps)]]
        self.bias = [list(zeros.unbind()) for zeros in self.empty[len(maps) :]]

    def add(self, at: int, image: int, which: Tensor, logits: Tensor, values: Tensor) -> None:
        """``logits`` [r, K, H, W] is the gradient of a chunk's logits, ``values`` [C, H, W] of its map."""
        for name, axis in (("rows", 3), ("cols", 2)):
            into, part = getattr(self, name), logits.sum(axis)
            part = torch.nn.functional.pad(part, (0, into.shape[2] - part.shape[2]))
            setattr(self, name, into.index_put((which,), part))
        self.maps[at][image] = self.maps[at][image] + values
        if self.bias:
            self.bias[at][image] = self.bias[at][image] + logits.sum(0)

    def all(self) -> list[Tensor]:
        found = zip((*self.maps, *self.bias), self.empty, strict=True)
        return [self.rows, self.cols, *(torch.stack(images) if images else zeros for images, zeros in found)]


@exact
def pool(
    maps: Sequence[Tensor],
    bias: Sequence[Tensor],
    rows: Tensor,
    cols: Tensor,
    batch: Tensor,
    level: Tensor,
    table: Tensor | None,
) -> Tensor:
    """y: [R, K, C]."""
    parts, order = [], []
    for at, image, which in _chunks(batch, level, maps[0].shape[0], len(maps)):
        w = _weights_of(maps, bias, rows, cols, table, at, image, which)
        parts.append(torch.einsum("rkvu,cvu->rkc", w, maps[at][image]))
        order.append(which)
    return _in_order(parts, order, maps, rows)


@exact
def backward(
    maps: Sequence[Tensor],
    bias: Sequence[Tensor],
    rows: Tensor,
    cols: Tensor,
    batch: Tensor,
    level: Tensor,
    table: Tensor | None,
    grad: Tensor,
) -> list[Tensor]:
    """Gradients of Σ grad · y, grad [R, K, C], to [rows, cols, *maps, *bias].

    With a = Σ_c grad · x the gradient to the weights, that to the logits is w · (a - Σ w a).
    """
    sums = _Sums(maps, bias, rows, cols)
    for at, image, which in _chunks(batch, level, maps[0].shape[0], len(maps)):
        x, g = maps[at][image], grad[which]
        w = _weights_of(maps, bias, rows, cols, table, at, image, which)
        a = torch.einsum("rkc,cvu->rkvu", g, x)
        logits = w * (a - (w * a).sum((2, 3), keepdim=True))
        sums.add(at, image, which, logits, torch.einsum("rkvu,rkc->cvu", w, g))
    return sums.all()


@exact
def second(
    maps: Sequence[Tensor],
    bias: Sequence[Tensor],
    rows: Tensor,
    cols: Tensor,
    batch: Tensor,
    level: Tensor,
    table: Tensor | None,
    grad: Tensor,
    direction: Sequence[Tensor],
) -> list[Tensor]:
    """Gradients of Σ backward(…) · direction, a direction for each of its results, to [grad, rows, cols, *maps, *bias].

    With dx the direction of the map, t that of the logits, s = Σ_c grad · dx + a t, and bars for means under w, the sum
    is s̄ - ā t̄ for each part. It is also grad · dy with dy = Σ w (dx + (t - t̄) x), the change of y that way.
    """
    sums = _Sums(maps, bias, rows, cols)
    d_rows, d_cols = direction[:2]
    d_maps, d_bias = direction[2 : 2 + len(maps)], direction[2 + len(maps) :]
    parts, order = [], []
    for at, image, which in _chunks(batch, level, maps[0].shape[0], len(maps)):
        x, dx, g = maps[at][image], d_maps[at][image], grad[which]
        w = _weights_of(maps, bias, rows, cols, table, at, image, which)
        t = _change(d_rows, d_cols, d_bias, x, at, image, which)
        a = torch.einsum("rkc,cvu->rkvu", g, x)
        s = torch.einsum("rkc,cvu->rkvu", g, dx) + a * t
        t_mean, a_mean, s_mean = ((w * q).sum((2, 3), keepdim=True) for q in (t, a, s))
        moved = w * (t - t_mean)
        parts.append(torch.einsum("rkvu,cvu->rkc", w, dx) + torch.einsum("rkvu,cvu->rkc", moved, x))
        order.append(which)
        logits = w * (s - s_mean - (a - a_mean) * t_mean - (t - t_mean) * a_mean)
        sums.add(at, image, which, logits, torch.einsum("rkvu,rkc->cvu", moved, g))
    return [_in_order(parts, order, maps, rows), *sums.all()]
