"""``roikit::attention_pool``, its derivative ``attention_backward`` and that one's, ``attention_second``.

Each recomputes the weights, a chunk of RoIs at a time, and stores none. Derivatives of third and higher order, forward
mode and ``torch.func`` go to the plain reference, which stores them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from ... import modes
from ...boxes import Rois
from .. import backend, indices, memory
from ..exact import exact
from ..maps import sum_dtype
from ..operator import define
from ..side_by_side import in_order
from . import reference
from .chunks import Chunk, against, plan, pooled
from .samples import Samples

Result = TypeVar("Result")


def _written_out(device: torch.device) -> bool:
    """The chunks need no compiled kernel: they are what runs, unless the reference is asked for, or has to run."""
    chosen = backend.choose(device) == "reference" and os.environ.get("ROIKIT_BACKEND") == "reference"
    return modes.transformed() or chosen


def _empty(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    return memory.empty(shape, dtype) if device.type == "cpu" else torch.empty(shape, dtype=dtype, device=device)


class _Inputs:
    """What all three operators read, in the type sums are made in."""

    def __init__(self, maps, bias, rows, cols, batch, level, table):
        indices.check(batch, level, maps[0].shape[0], len(maps))
        self.dtype = sum_dtype(maps[0].dtype)
        self.maps, self.bias = [x.to(self.dtype) for x in maps], [b.to(self.dtype) for b in bias]
        self.rows, self.cols = rows.to(self.dtype), cols.to(self.dtype)
        self.batch, self.level, self.table = batch, level, table
        self.cells = [_last(x) for x in self.maps]
        self.shape = (rows.shape[0], rows.shape[1], maps[0].shape[1])  # [R, K, C]

    def written_out(self) -> list:
        return [self.maps, self.bias, self.rows, self.cols, self.batch, self.level, self.table]

    def each(self, function: Callable[[Chunk], Result]) -> Iterator[Result]:
        """``function`` of every chunk, the results in order; on a CPU chunks run side by side."""
        sizes = [x.shape[2:] for x in self.maps]
        chunks = plan(self.batch, self.level, self.table, self.shape[1], self.maps[0].shape[0], sizes)
        return in_order(function, chunks) if self.batch.device.type == "cpu" else map(function, chunks)

    def weights(self, chunk: Chunk) -> Tensor:
        return chunk.weights(*self.logits_of(chunk))

    def logits_of(self, chunk: Chunk, tensors: Sequence | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """The chunk's rows, columns and bias (or those among ``tensors``), as wide as its map."""
        rows, cols, bias = (self.rows, self.cols, self.bias) if tensors is None else tensors
        height, width = self.maps[chunk.level].shape[2:]
        return rows[:, :, :height], cols[:, :, :width], bias[chunk.level][chunk.image] if bias else None


class _Sums:
    """Gradients of rows, columns, maps and bias, added up in the order of the chunks."""

    def __init__(self, given: _Inputs) -> None:
        self.given = given
        self.rows, self.cols = torch.zeros_like(given.rows), torch.zeros_like(given.cols)
        self.maps = [torch.zeros_like(cells) for cells in given.cells]
        self.bias = [b.new_zeros(b.shape[0], *b.shape[2:], b.shape[1]) for b in given.bias]

    def to_logits(self, chunk: Chunk, change: Tensor) -> list[Tensor]:
        return chunk.to_logits(*self.given.logits_of(chunk, (self.rows, self.cols, []))[:2], change)

    def add(self, chunk: Chunk, logits: list[Tensor], values: list[Tensor]) -> None:
        chunk.add(self.maps[chunk.level][chunk.image], values)
        if self.bias:
            chunk.add(self.bias[chunk.level][chunk.image], logits)

    def all(self) -> list[Tensor]:
        return [self.rows, self.cols, *(x.permute(0, 3, 1, 2) for x in (*self.maps, *self.bias))]


@exact
def _pool(maps, bias, rows, cols, batch, level, table):
    given = _Inputs(maps, bias, rows, cols, batch, level, table)
    if _written_out(maps[0].device):
        out = reference.pool(*given.written_out())
    else:
        out = _empty(given.shape, given.dtype, maps[0].device)

        def one(chunk: Chunk) -> None:
            out[chunk.which] = pooled(given.weights(chunk), chunk.values(given.cells[chunk.level][chunk.image]))

        for _ in given.each(one):
            pass
    return out.to(maps[0].dtype)


def _pool_fake(maps, bias, rows, cols, batch, level, table):
    return maps[0].new_empty((rows.shape[0], rows.shape[1], maps[0].shape[1]))


def _save(ctx, inputs, output):
    *first, maps, bias, rows, cols, batch, level, table = inputs
    ctx.counts = (len(maps), len(bias), len(first))
    ctx.table = table is not None
    ctx.save_for_backward(rows, cols, batch, level, *([table] if ctx.table else []), *first, *maps, *bias)


def _saved(ctx):
    """(first, maps, bias, rows, cols, batch, level, table) as they were given."""
    rows, cols, batch, level, *rest = ctx.saved_tensors
    table = rest.pop(0) if ctx.table else None
    levels, biases, firsts = ctx.counts
    first, rest = rest[:firsts], rest[firsts:]
    return first, rest[:levels], rest[levels : levels + biases], rows, cols, batch, level, table


def _pool_backward(ctx, grad):
    _, maps, bias, rows, cols, batch, level, table = _saved(ctx)
    found = list(_attention_backward(grad, maps, bias, rows, cols, batch, level, table))
    return found[2 : 2 + len(maps)], found[2 + len(maps) :], found[0], found[1], None, None, None


@exact
def _backward(grad, maps, bias, rows, cols, batch, level, table):
    given = _Inputs(maps, bias, rows, cols, batch, level, table)
    grad = grad.to(given.dtype)
    if _written_out(maps[0].device):
        return _typed(reference.backward(*given.written_out(), grad), [rows, cols, *maps, *bias])
    sums = _Sums(given)

    def one(chunk: Chunk) -> tuple[Chunk, list[Tensor], list[Tensor]]:
        w, mine = given.weights(chunk), grad[chunk.which]
        a = against(mine, chunk.values(given.cells[chunk.level][chunk.image]))
        a = (a - (w * a).sum(-1, keepdim=True)).mul_(w)
        return chunk, sums.to_logits(chunk, a), chunk.to_values(w, mine)

    for found in given.each(one):
        sums.add(*found)
    return _typed(sums.all(), [rows, cols, *maps, *bias])


def _backward_fake(grad, maps, bias, rows, cols, batch, level, table):
    return [torch.empty(t.shape, dtype=t.dtype, device=t.device) for t in (rows, cols, *maps, *bias)]


def _backward_backward(ctx, cotangents):
    (grad,), maps, bias, rows, cols, batch, level, table = _saved(ctx)
    direction = list(cotangents)
    if torch.is_grad_enabled():  # somebody differentiates a third time
        wide = sum_dtype(maps[0].dtype)
        cast = [[t.to(wide) for t in tensors] for tensors in (maps, bias, (rows, cols), direction)]
        given = (cast[0], cast[1], *cast[2], batch, level, table, grad.to(wide), cast[3])
        found = _typed(reference.second(*given), [grad, rows, cols, *maps, *bias])
    else:
        found = list(_attention_second(grad, direction, maps, bias, rows, cols, batch, level, table))
    levels = len(maps)
    return found[0], found[3 : 3 + levels], found[3 + levels :], found[1], found[2], None, None, None


@exact
def _second(grad, direction, maps, bias, rows, cols, batch, level, table):
    given = _Inputs(maps, bias, rows, cols, batch, level, table)
    grad, direction = grad.to(given.dtype), [d.to(given.dtype) for d in direction]
    like = [grad, rows, cols, *maps, *bias]
    if _written_out(maps[0].device):
        return _typed(reference.second(*given.written_out(), grad, direction), like)
    levels = len(maps)
    toward = (direction[0], direction[1], direction[2 + levels :])
    d_grad = _empty(given.shape, given.dtype, maps[0].device)
    toward_cells = [_last(x) for x in direction[2 : 2 + levels]]
    sums = _Sums(given)

    def one(chunk: Chunk) -> tuple[Chunk, list[Tensor], list[Tensor]]:
        w, mine = given.weights(chunk), grad[chunk.which]
        x, dx = (chunk.values(cells[chunk.level][chunk.image]) for cells in (given.cells, toward_cells))
        t = chunk.logits(*given.logits_of(chunk, toward), masked=False)
        a = against(mine, x)
        s = against(mine, dx).add_(a * t)
        t_mean, a_mean, s_mean = ((w * q).sum(-1, keepdim=True) for q in (t, a, s))
        t, a, s = t.sub_(t_mean), a.sub_(a_mean), s.sub_(s_mean)
        moved = w * t
        d_grad[chunk.which] = pooled(w, dx).add_(pooled(moved, x))
        logits = s.sub_(a.mul_(t_mean)).sub_(t.mul_(a_mean)).mul_(w)
        return chunk, sums.to_logits(chunk, logits), chunk.to_values(moved, mine)

    for found in given.each(one):
        sums.add(*found)
    return _typed([d_grad, *sums.all()], like)


def _second_fake(grad, direction, maps, bias, rows, cols, batch, level, table):
    return [torch.empty(t.shape, dtype=t.dtype, device=t.device) for t in (grad, rows, cols, *maps, *bias)]


def _last(x: Tensor) -> Tensor:
    """[B, C, H, W] as [B, H, W, C]."""
    return x.permute(0, 2, 3, 1).contiguous()


def _typed(found: Sequence[Tensor], like: Sequence[Tensor]) -> list[Tensor]:
    return [f.to(t.dtype).contiguous() for f, t in zip(found, like, strict=True)]


_READ = "Tensor[] maps, Tensor[] bias, Tensor rows, Tensor cols, Tensor batch, Tensor level, Tensor? table"
_attention_pool = define(f"attention_pool({_READ}) -> Tensor", _pool, _pool_fake, _pool_backward, _save)
_attention_backward = define(
    f"attention_backward(Tensor grad, {_READ}) -> Tensor[]", _backward, _backward_fake, _backward_backward, _save
)
_attention_second = define(
    f"attention_second(Tensor grad, Tensor[] direction, {_READ}) -> Tensor[]", _second, _second_fake
)


def attention_pool(
    maps: Sequence[Tensor],
    rois: Rois,
    rows: Tensor,
    cols: Tensor,
    bias: Sequence[Tensor] | None = None,
    samples: Samples | None = None,
) -> Tensor:
    """Sums weighted by a softmax over the map: w[r,k,v,u] ∝ exp(rows[r,k,v] + cols[r,k,u] + bias[b_r,k,v,u]).

    Args:
        maps: one ``Tensor[B, C, H_l, W_l]`` per level.
        rois: which image and level each region is read from.
        rows, cols: ``Tensor[R, K, H]`` and ``Tensor[R, K, W]``, at least as wide as the largest map; -∞ leaves a row or
            column out.
        bias: one ``Tensor[B, K, H_l, W_l]`` per level; ``None`` is 0.
        samples: the cells that each region reads; ``None``: all of its map.

    Returns:
        ``Tensor[R, C, K]``, differentiable in maps, rows, cols and bias to any order; 0 for a region without cells.

    Raises:
        ValueError: shapes that do not fit each other, a region of an image or level that is not there.

    Example:
        >>> import torch
        >>> from roikit.boxes import Rois
        >>> x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
        >>> rois = Rois.of([torch.zeros(1, 4)], batch_size=1)
        >>> last = torch.tensor([[[0.0, 50.0]]])  # of the rows, nearly all weight is on the last
        >>> attention_pool([x], rois, last, torch.zeros(1, 1, 2))
        tensor([[[3.5000]]])
    """
    maps, biases = list(maps), list(bias or [])
    _check(maps, rois, rows, cols, biases, samples)
    table = None if samples is None else samples.table
    return _attention_pool(maps, biases, rows, cols, rois.batch, rois.level, table).transpose(1, 2)


def _check(maps, rois, rows, cols, bias, samples) -> None:
    count = rois.batch.shape[0]
    for name, logits, axis in (("rows", rows, 2), ("cols", cols, 3)):
        most = max(x.shape[axis] for x in maps)
        if logits.ndim != 3 or logits.shape[0] != count or logits.shape[2] < most:
            raise ValueError(
                f"{name} must be a Tensor[{count}, K, {most}] of logits, one for each RoI, part and "
                f"{'row' if axis == 2 else 'column'} of the map, but its shape is {list(logits.shape)}"
            )
    if rows.shape[1] != cols.shape[1]:
        raise ValueError(f"rows have {rows.shape[1]} parts and cols {cols.shape[1]}: give both the same K")
    if bias and len(bias) != len(maps):
        raise ValueError(f"{len(maps)} feature maps need as many bias maps, but there are {len(bias)}")
    for i, (b, x) in enumerate(zip(bias, maps, strict=False)):
        shape = [x.shape[0], rows.shape[1], *x.shape[2:]]
        if list(b.shape) != shape:
            raise ValueError(
                f"bias[{i}] must be a Tensor[B, K, H, W] like its map, {shape}, but its shape is {list(b.shape)}"
            )
    if samples is None:
        return
    table = samples.table
    if table.shape != (count, 7) or table.dtype != torch.int64:
        raise ValueError(
            f"samples.table must be an int64 Tensor[{count}, 7], but it is {table.dtype} {list(table.shape)}"
        )
    if modes.readable(table):
        wrong = (table < table.new_tensor([0, 0, 0, 0, 1, 1, 0])).any(1)
        if bool(wrong.any()):
            r = int(wrong.nonzero()[0])
            raise ValueError(
                f"RoI {r}: samples.table[{r}] = {table[r].tolist()} has a negative entry, or a step inside below 1"
            )
