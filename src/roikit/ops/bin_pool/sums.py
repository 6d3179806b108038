"""The four sums of ``reference.py`` on the backend of the tensors' device, half types widened and results narrowed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...boxes import of_level
from .. import backend, indices, memory, rules, visiting
from ..grid_pool.reference import windowed
from ..maps import is_channels_last, sum_dtype
from . import reference


@dataclasses.dataclass(frozen=True)
class Bins:
    """K bins of each of R RoIs: ``fixed`` and ``numbers`` of an operator, by name.

    Either rows and cols [R, K, 2] of (lo, size), with rules and samples; or taps [R, K, N] with their windows.
    """

    batch: Tensor
    level: Tensor
    base: Tensor
    step: int
    run: int
    rules: tuple[int, int] = (0, 0)
    samples: tuple[int, int] = (0, 0)
    axes: tuple[Tensor, ...] = ()
    taps: tuple[Tensor, ...] = ()
    windows: tuple[Tensor, ...] = ()

    def explicit(self, sizes: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Row and column taps [R, K, N] for maps of ``sizes`` [(H, W), …]."""
        if self.taps:
            rows, cols = (windowed(t, w) for t, w in zip(self.taps, self.windows, strict=True))
            return rows, cols
        found = []
        for axis, given in enumerate(self.axes):
            rule = rules.RULES[rules.NAMES[self.rules[axis]]]
            cells: Any = [size[axis] for size in sizes]
            most, bins = max(cells), given.shape[1]
            if len(cells) == 1:
                cells = cells[0]
            else:
                cells = of_level(cells, self.level).repeat_interleave(bins)
            lo, size = given.flatten(0, 1).unbind(1)
            found.append(rule.taps(lo, size, 1, self.samples[axis], cells, most)[0].reshape(-1, bins, most))
        return found[0], found[1]

    def visits(self, levels: int) -> list[np.ndarray]:
        """The RoIs of each level, in the order in which they are best read."""
        y = x = None
        if self.axes and self.axes[0].shape[1]:
            y, x = (axis.detach()[:, axis.shape[1] // 2, 0].numpy() for axis in self.axes)
        return visiting.visits(self.batch.numpy(), self.level.numpy(), levels, y, x)

    def arguments(self, sizes: Sequence[int]) -> tuple:
        """The part of the kernels' arguments that says the taps, for one map of (H, W) = ``sizes``."""
        from ..rules.kernels import capacity
        from .lists import TAPS

        if self.taps:
            rows, cols = (np.ascontiguousarray(t.detach().numpy()) for t in self.taps)
            row_window, col_window = (np.ascontiguousarray(t.numpy()) for t in self.windows)
            none = np.empty((0, 0, 2), rows.dtype)
            return (TAPS, TAPS, 0, 0, none, none, rows, row_window, cols, col_window, max(sizes) + 2)
        rows, cols = (np.ascontiguousarray(t.detach().numpy()) for t in self.axes)
        none, no_window = np.empty((0, 0, 0), rows.dtype), np.empty((0, 0, 0), np.int32)
        room = max(capacity(*which, max(sizes)) for which in zip(self.rules, self.samples, strict=True))
        return (*self.rules, *self.samples, rows, cols, none, no_window, none, no_window, room)


TURNING = 128  # numbers of a map that are turned in the time that a number of the output takes longer where it is not


class BinSums:
    """``ops.trilinear.Sums`` for bins that lie anywhere. ``read`` turns an operator's arguments into ``Bins``."""

    def __init__(self, read: Any) -> None:
        self.read = read

    def pooled_like(self, maps, fixed, numbers):
        bins = self.read((), fixed, numbers)
        count, last = bins.base.shape, is_channels_last(maps[0])
        if last:
            return maps[0].new_empty(*count, bins.run).transpose(1, 2)
        return maps[0].new_empty(count[0], bins.run, count[1])

    def taps_like(self, other, fixed, axis, width):
        return other.new_empty(*other.shape[:2], width)

    def pool(self, maps, taps, fixed, numbers):
        bins, dtype = self.read(taps, fixed, numbers), maps[0].dtype
        count, parts = bins.base.shape
        self._check(bins, maps[0].shape)
        indices.check(bins.batch, bins.level, maps[0].shape[0], len(maps))
        last = is_channels_last(maps[0])
        runs = backend.choose(maps[0].device) if bins.run else "reference"
        if runs == "triton":
            from . import cuda

            return cuda.pool(maps, bins, last)
        if runs == "reference":
            rows, cols = (t.to(sum_dtype(dtype)) for t in bins.explicit([x.shape[2:] for x in maps]))
            given = [x.to(sum_dtype(dtype)) for x in maps]
            out = reference.pool(given, bins.batch, bins.level, rows, cols, bins.base, bins.step, bins.run).to(dtype)
            return out.transpose(1, 2).contiguous().transpose(1, 2) if last else out
        from .. import layout, threads
        from . import cpu, cpu_planes

        out = memory.empty((count, parts, bins.run) if last else (count, bins.run, parts), dtype)
        base, into = np.ascontiguousarray(bins.base.numpy()), layout.numbers(out)
        batch, sums = bins.batch.numpy(), np.empty(0, memory.NUMPY[sum_dtype(dtype)])
        for x, order in zip(maps, bins.visits(len(maps)), strict=True):
            if not len(order):
                continue
            arguments = (batch, *bins.arguments(x.shape[2:]), sums, base, bins.step)
            if not last and len(order) * parts * bins.run * TURNING < x.numel():
                threads.split(cpu_planes.pool, parts, order, layout.numbers(x), *arguments, into)
            else:
                source = layout.last_numbers(x)
                threads.split(
                    cpu.pool, len(order), order, source, *arguments, last, memory.streamed(out), into, grain=4
                )
        return out.transpose(1, 2) if last else out

    def spread(self, grad, taps, fixed, numbers, shapes, last):
        bins, dtype = self.read(taps, fixed, numbers), grad.dtype
        self._check(bins, shapes[0])
        indices.check(bins.batch, bins.level, shapes[0][0], len(shapes))
        form = torch.channels_last if last else torch.contiguous_format
        runs = backend.choose(grad.device) if bins.run else "reference"
        if runs == "triton":
            from . import cuda

            return cuda.spread(grad, bins, shapes, last)
        if runs == "reference":
            rows, cols = (t.to(sum_dtype(dtype)) for t in bins.explicit([s[2:] for s in shapes]))
            given = (bins.batch, bins.level, rows, cols, bins.base, bins.step, shapes)
            found = reference.spread(grad.to(sum_dtype(dtype)), *given)
            return [m.to(dtype).contiguous(memory_format=form) for m in found]
        from .. import threads
        from . import cpu

        source = grad.detach().to(sum_dtype(dtype)).transpose(1, 2).contiguous().numpy()
        where = (bins.batch.numpy(), bins.level.numpy())
        base = np.ascontiguousarray(bins.base.numpy())
        maps = []
        for at, (images, channels, height, width) in enumerate(shapes):
            out = memory.empty((images, height, width, channels), sum_dtype(dtype))
            part = channels // bins.step
            block = min(part, cpu.BLOCK)
            pairs = images * -(-part // block)
            arguments = bins.arguments((height, width))
            given = (source, *where, at, *arguments, base, bins.step, block, out.numpy())
            threads.split(cpu.spread, pairs, *given)
            ordered = out.unflatten(3, (bins.step, part)).permute(0, 4, 3, 1, 2).flatten(1, 2)
            maps.append(ordered.to(dtype).contiguous(memory_format=form))
        return maps

    def grad_taps(self, maps, other, grad, fixed, numbers, axis, width):
        bins = self.read((other, other), fixed, numbers)
        self._check(bins, maps[0].shape)
        indices.check(bins.batch, bins.level, maps[0].shape[0], len(maps))
        sums = sum_dtype(grad.dtype)
        window, other_window = bins.windows if axis == 0 else bins.windows[::-1]
        runs = backend.choose(grad.device) if bins.run else "reference"
        if runs == "triton":
            from . import cuda

            return cuda.grad_taps(maps, other, grad, bins, axis, width)
        if runs == "reference":
            found = reference.grad_rows if axis == 0 else reference.grad_cols
            taps = windowed(other, other_window).to(sums)
            given = (bins.batch, bins.level, taps, bins.base, bins.step, width)
            return windowed(found([x.to(sums) for x in maps], grad.to(sums), *given), window)
        from .. import threads
        from . import cpu

        out = torch.zeros((*other.shape[:2], width), dtype=sums)
        upstream = grad.detach().to(sums).transpose(1, 2).contiguous().numpy()
        main, *arrays = (np.ascontiguousarray(t.detach().numpy()) for t in (window, other, other_window))
        where = (bins.batch.numpy(), bins.level.numpy())
        base = np.ascontiguousarray(bins.base.numpy())
        for at, x in enumerate(maps):
            images, channels, height, across = x.shape
            source = by_step(x, bins.step).reshape(images, height * across * channels)
            strides = (across * channels, channels) if axis == 0 else (channels, across * channels)
            cells, limit = (across, height) if axis == 0 else (height, across)
            here = np.clip(main, 0, limit)  # taps made for several levels are as wide as the widest map
            given = (source, *strides, cells, upstream, *where, at, here, *arrays, cells + 2)
            part = channels // bins.step
            threads.split(cpu.grad_main, grad.shape[0], *given, base, bins.step, part, out.numpy(), grain=2)
        return out

    @staticmethod
    def _check(bins: Bins, shape: Sequence[int]) -> None:
        """The kernels read channels by number: none may lie outside the map. On a GPU, where reading the numbers would
        wait for all that runs there, a bin with such channels gives NaN."""
        if shape[1] % bins.step:
            raise ValueError(f"{shape[1]} channels do not divide into groups of {bins.step}")
        if bins.base.numel() and bins.run and indices.readable(bins.base):
            low, high = (int(v) for v in torch.aminmax(bins.base))
            if low < 0 or high + (bins.run - 1) * bins.step >= shape[1]:
                raise ValueError(
                    f"a bin reads channels {low} to {high + (bins.run - 1) * bins.step}, but the map has {shape[1]}"
                )


def by_step(x: Tensor, step: int) -> np.ndarray:
    """[B, C, H, W] as contiguous [B, H, W, C] with channels ordered by (c mod step, c div step)."""
    from .. import layout

    if step == 1:
        return layout.channels_last(x)
    grouped = x.unflatten(1, (x.shape[1] // step, step)).transpose(1, 2).flatten(1, 2)
    return layout.channels_last(grouped)
