"""The four sums of ``reference.py`` on the backend of the tensors' device, half types widened and results narrowed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...boxes import of_level
from .. import backend, indices, memory, visiting
from ..maps import cells_of, is_channels_last, sum_dtype
from . import reference


def taps(points: Tensor, weights: Tensor, cells: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Each sample as a low cell, two row taps (its weight is in them) and two column taps.

    A sample < -1 or > N on either axis has row taps 0; otherwise it is moved onto [0, N - 1].

    Args:
        points: ``Tensor[R, K, P, 2]``, (y, x) in feature cells; the value of cell u lies at u.
        weights: ``Tensor[R, K, P]``.
        cells: the numbers of rows and of columns of each RoI's own map, ``Tensor[R]`` each.

    Returns:
        rows and cols ``Tensor[R, K, P, 2]``, differentiable, and low ``Tensor[R, K, P, 2]`` int32, (row, column).
    """
    found, lows = [], []
    counted: Any = True
    for at, count in zip(points.unbind(-1), cells, strict=True):
        n = count.to(at.dtype)[:, None, None]
        counted = counted & ~((at < -1) | (at > n))
        at = torch.minimum(at.clamp(min=0), n - 1)
        low = torch.floor(at.detach()).nan_to_num(0.0)
        part = (at - low) * (low < n - 1).to(at.dtype)  # on the last cell: its value, which does not change any more
        found.append(torch.stack([1 - part, part], -1))
        lows.append(low)
    rows, cols = found
    share = weights * counted.to(weights.dtype)
    return share[..., None] * rows, cols, torch.stack(lows, -1).to(torch.int32)


@dataclasses.dataclass(frozen=True)
class Samples:
    """The samples of K bins of each of R RoIs: points [R, K, P, 2] with weights [R, K, P]; or taps and low cells."""

    batch: Tensor
    level: Tensor
    points: Tensor | None = None
    weights: Tensor | None = None
    rows: Tensor | None = None
    cols: Tensor | None = None
    low: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """R, K and P."""
        where = self.points if self.low is None else self.low
        assert where is not None
        return where.shape[0], where.shape[1], where.shape[2]

    def explicit(self, cells: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Row taps, column taps and low cells, on maps of so many rows and columns, ``Tensor[R]`` each."""
        if self.points is None or self.weights is None:
            assert self.rows is not None and self.cols is not None and self.low is not None
            return self.rows, self.cols, self.low
        return taps(self.points, self.weights, cells)

    def visits(self, levels: int) -> list[np.ndarray]:
        """The RoIs of each level, in the order in which they are best read."""
        y = x = None
        if self.points is not None and self.points.shape[1] and self.points.shape[2]:
            y, x = self.points.detach()[:, self.points.shape[1] // 2, 0].numpy().T
        return visiting.visits(self.batch.numpy(), self.level.numpy(), levels, y, x)

    def arguments(self) -> tuple:
        """The part of the kernels' arguments that says the samples."""
        given = (self.points, self.weights, self.rows, self.cols, self.low)
        kind = next(t.dtype for t in given if t is not None)
        like = {3: np.empty((0, 0, 0), memory.NUMPY[kind]), 4: np.empty((0, 0, 0, 0), memory.NUMPY[kind])}
        arrays = []
        for tensor, dims in zip(given, (4, 3, 4, 4, 4), strict=True):
            arrays.append(like[dims] if tensor is None else np.ascontiguousarray(tensor.detach().numpy()))
        if self.low is None:
            arrays[4] = np.empty((0, 0, 0, 0), np.int32)
        return (self.low is not None, *arrays)


def points_and_weights(given: Sequence[Tensor], fixed: Sequence[Tensor]) -> Samples:
    """``Samples`` of an operator that takes points."""
    batch, level, points, weights = fixed
    return Samples(batch, level, points=points, weights=weights)


def taps_and_cells(given: Sequence[Tensor], fixed: Sequence[Tensor]) -> Samples:
    """``Samples`` of an operator that takes taps."""
    batch, level, low = fixed
    rows, cols = given
    return Samples(batch, level, rows=rows, cols=cols, low=low)


class PointSums:
    """``ops.trilinear.Sums`` for free points. ``read`` turns an operator's arguments into ``Samples``."""

    def __init__(self, read: Any) -> None:
        self.read = read

    def pooled_like(self, maps, fixed, numbers):
        count, bins = fixed[2].shape[:2]  # of the points, or of the low cells
        channels = maps[0].shape[1]
        if is_channels_last(maps[0]):
            return maps[0].new_empty(count, bins, channels).transpose(1, 2)
        return maps[0].new_empty(count, channels, bins)

    def taps_like(self, other, fixed, axis, width):
        return other.new_empty(other.shape)

    def pool(self, maps, taps, fixed, numbers):
        samples, dtype = self.read(taps, fixed), maps[0].dtype
        (count, bins), channels = fixed[2].shape[:2], maps[0].shape[1]
        indices.check(samples.batch, samples.level, maps[0].shape[0], len(maps))
        last = is_channels_last(maps[0])
        runs = backend.choose(maps[0].device) if channels else "reference"
        if runs == "triton":
            from . import cuda

            return cuda.pool(maps, samples, sum_dtype(dtype), last)
        if runs == "reference":
            cells = cells_of(maps, samples.level)
            given = [t if t.dtype == torch.int32 else t.to(sum_dtype(dtype)) for t in samples.explicit(cells)]
            out = reference.pool([x.to(sum_dtype(dtype)) for x in maps], samples.batch, samples.level, *given).to(dtype)
            return out.transpose(1, 2).contiguous().transpose(1, 2) if last else out
        from .. import layout, threads
        from . import cpu

        out = memory.empty((count, bins, channels) if last else (count, channels, bins), dtype)
        batch, sums, into = samples.batch.numpy(), np.empty(0, memory.NUMPY[sum_dtype(dtype)]), layout.numbers(out)
        arguments = (*samples.arguments(), sums, last, memory.streamed(out), into)
        for x, order in zip(maps, samples.visits(len(maps)), strict=True):
            if len(order):
                source = layout.last_numbers(x)
                threads.split(cpu.pool, len(order), order, source, batch, *arguments, grain=4)
        return out.transpose(1, 2) if last else out

    def spread(self, grad, taps, fixed, numbers, shapes, last):
        samples, dtype = self.read(taps, fixed), grad.dtype
        indices.check(samples.batch, samples.level, shapes[0][0], len(shapes))
        form = torch.channels_last if last else torch.contiguous_format
        runs = backend.choose(grad.device) if grad.shape[1] else "reference"
        if runs == "triton":
            from . import cuda

            return cuda.spread(grad, samples, sum_dtype(dtype), shapes, last)
        if runs == "reference":
            cells = (of_level([s[2] for s in shapes], samples.level), of_level([s[3] for s in shapes], samples.level))
            given = [t if t.dtype == torch.int32 else t.to(sum_dtype(dtype)) for t in samples.explicit(cells)]
            found = reference.spread(grad.to(sum_dtype(dtype)), samples.batch, samples.level, *given, shapes)
            return [m.to(dtype).contiguous(memory_format=form) for m in found]
        from .. import threads
        from . import cpu

        source = grad.detach().to(sum_dtype(dtype)).transpose(1, 2).contiguous().numpy()
        where = (samples.batch.numpy(), samples.level.numpy())
        arguments = samples.arguments()
        maps = []
        for at, (images, channels, height, width) in enumerate(shapes):
            out = memory.empty((images, height, width, channels), sum_dtype(dtype))
            block = min(channels, cpu.BLOCK)
            pairs = images * -(-channels // block)
            threads.split(cpu.spread, pairs, source, *where, at, *arguments, block, out.numpy())
            maps.append(out.permute(0, 3, 1, 2).to(dtype).contiguous(memory_format=form))
        return maps

    def grad_taps(self, maps, other, grad, fixed, numbers, axis, width):
        samples = self.read((other, other), fixed)
        indices.check(samples.batch, samples.level, maps[0].shape[0], len(maps))
        sums = sum_dtype(grad.dtype)
        runs = backend.choose(grad.device) if grad.shape[1] else "reference"
        if runs == "triton":
            from . import cuda

            return cuda.grad_taps(maps, other, grad, samples, sums, axis)
        if runs == "reference":
            given = ([x.to(sums) for x in maps], grad.to(sums), samples.batch, samples.level, other.to(sums))
            return reference.grad_rows(*given, samples.low, axis == 1)
        from .. import layout, threads
        from . import cpu

        out = memory.empty(other.shape, sums)
        upstream = grad.detach().to(sums).transpose(1, 2).contiguous().numpy()
        arrays = [np.ascontiguousarray(t.detach().numpy()) for t in (other, samples.low)]
        where = (samples.batch.numpy(), samples.level.numpy())
        for at, x in enumerate(maps):
            source = layout.last_numbers(x.to(sums))
            given = (source, upstream, *where, at, axis, *arrays, out.numpy())
            threads.split(cpu.grad_taps, grad.shape[0], *given, grain=2)
        return out
