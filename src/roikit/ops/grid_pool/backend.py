"""The four sums of ``reference.py`` on the backend of the tensors' device, half types widened and results narrowed.

``Geometry`` says where a RoI's taps come from: a rule evaluated in the kernel, or explicit taps.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from ...boxes import of_level
from .. import backend, indices, memory, rules, visiting
from ..maps import is_channels_last, sum_dtype
from . import reference


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Which cells weigh what. Either ``axes`` = (rows [R, 2], cols [R, 2]) of (lo, size) with a rule and a number of
    samples for each axis, or ``taps`` = (rows [R, h, N], its window, cols [R, w, M], its window)."""

    batch: Tensor
    level: Tensor
    bins: tuple[int, int]
    axes: tuple[Tensor, Tensor] | None = None
    rules: tuple[int, int] = (0, 0)
    samples: tuple[int, int] = (0, 0)
    taps: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def explicit(self, sizes: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Row and column taps for maps of ``sizes`` [(H, W), …], zero outside their windows."""
        if self.taps is not None:
            rows, row_window, cols, col_window = self.taps
            return reference.windowed(rows, row_window), reference.windowed(cols, col_window)
        assert self.axes is not None
        found = []
        for axis in (0, 1):
            rule = rules.RULES[rules.NAMES[self.rules[axis]]]
            cells = [size[axis] for size in sizes]
            count = cells[0] if len(cells) == 1 else of_level(cells, self.level)
            lo, size = self.axes[axis].unbind(1)
            found.append(rule.taps(lo, size, self.bins[axis], self.samples[axis], count, max(cells))[0])
        return found[0], found[1]

    def visits(self, levels: int) -> list[np.ndarray]:
        """The RoIs of each level, in the order in which they are best read."""
        y = x = None
        if self.axes is not None and len(self.level) >= visiting.MANY:
            y, x = ((axis[:, 0] + axis[:, 1] / 2).detach().numpy() for axis in self.axes)
        return visiting.visits(self.batch.numpy(), self.level.numpy(), levels, y, x)

    def arguments(self, sizes: Sequence[int]) -> tuple:
        """The part of the kernels' arguments that says the taps, for one map of (H, W) = ``sizes``."""
        if self.taps is not None:
            tail = tuple(np.ascontiguousarray(t.detach().numpy()) for t in self.taps)
            none, taps = np.empty((0, 2), tail[0].dtype), _numba().TAPS
            return (taps, taps, 0, 0, none, none, *tail, max(sizes) + 2)
        assert self.axes is not None
        rows, cols = (np.ascontiguousarray(a.detach().numpy()) for a in self.axes)
        none, no_window = np.empty((0, 0, 0), rows.dtype), np.empty((0, 0, 0), np.int32)
        room = max(_numba().capacity(*which, max(sizes)) for which in zip(self.rules, self.samples, strict=True))
        return (*self.rules, *self.samples, rows, cols, none, no_window, none, no_window, room)


@functools.cache
def _numba() -> SimpleNamespace:
    """The modules that need Numba, which is not loaded where the reference runs."""
    from .. import layout, threads
    from ..rules.kernels import capacity
    from . import cpu_gradients, cpu_last, cpu_planes
    from .entries import TAPS

    return SimpleNamespace(
        gradients=cpu_gradients, last=cpu_last, planes=cpu_planes, layout=layout, threads=threads,
        capacity=capacity, TAPS=TAPS,
    )  # fmt: skip


def pool(maps: Sequence[Tensor], geometry: Geometry) -> Tensor:
    dtype = maps[0].dtype
    channels = maps[0].shape[1]
    indices.check(geometry.batch, geometry.level, maps[0].shape[0], len(maps))
    chosen = backend.choose(maps[0].device)
    if chosen == "triton":
        from . import cuda

        return cuda.pool(maps, geometry)
    if chosen == "reference" or not channels:
        rows, cols = (t.to(sum_dtype(dtype)) for t in geometry.explicit([x.shape[2:] for x in maps]))
        wide = [x.to(sum_dtype(dtype)) for x in maps]
        pooled = reference.pool(wide, geometry.batch, geometry.level, rows, cols).to(dtype)
        # As the kernels and the fake kernel lay it out: a compiled graph relies on the strides.
        form = torch.channels_last if is_channels_last(maps[0]) else torch.contiguous_format
        return pooled.contiguous(memory_format=form)
    return _pool_numba(maps, geometry)


def _pool_numba(maps: Sequence[Tensor], geometry: Geometry) -> Tensor:
    kernels = _numba()
    layout, split = kernels.layout, kernels.threads.split
    (h, w), channels, count = geometry.bins, maps[0].shape[1], geometry.batch.shape[0]
    last = is_channels_last(maps[0])
    dtype = maps[0].dtype
    out = memory.empty((count, h, w, channels) if last else (count, channels, h, w), dtype)
    streaming = memory.streamed(out)
    sums, into, batch = np.empty(0, memory.NUMPY[sum_dtype(dtype)]), layout.numbers(out), geometry.batch.numpy()
    for x, order in zip(maps, geometry.visits(len(maps)), strict=True):
        if not len(order):
            continue
        arguments = geometry.arguments(x.shape[2:])
        if not last and len(order) * visiting.TURNING < x.shape[0] * x.shape[2] * x.shape[3]:
            split(kernels.planes.pool, len(order), order, layout.numbers(x), batch, *arguments, sums, into, grain=2)
        else:
            source = layout.last_numbers(x)
            split(kernels.last.pool, len(order), order, source, batch, *arguments, sums, last, streaming, into, grain=2)
    return out.permute(0, 3, 1, 2) if last else out


def spread(grad: Tensor, geometry: Geometry, shapes: Sequence[Sequence[int]], last: bool) -> list[Tensor]:
    dtype = grad.dtype
    indices.check(geometry.batch, geometry.level, shapes[0][0], len(shapes))
    chosen = backend.choose(grad.device)
    if chosen == "triton":
        from . import cuda

        return cuda.spread(grad, geometry, shapes, last)
    if chosen == "reference" or not grad.shape[1]:
        rows, cols = (t.to(sum_dtype(dtype)) for t in geometry.explicit([s[2:] for s in shapes]))
        found = reference.spread(grad.to(sum_dtype(dtype)), geometry.batch, geometry.level, rows, cols, shapes)
        form = torch.channels_last if last else torch.contiguous_format
        return [m.to(dtype).contiguous(memory_format=form) for m in found]
    kernels = _numba()
    layout, split = kernels.layout, kernels.threads.split
    grad_last = is_channels_last(grad)
    source = layout.last_numbers(grad) if grad_last else layout.numbers(grad)
    batch, sums = geometry.batch.numpy(), np.empty(0, memory.NUMPY[sum_dtype(dtype)])
    maps = []
    for (images, channels, height, width), order in zip(shapes, geometry.visits(len(shapes)), strict=True):
        shape = (images, height, width, channels) if last else (images, channels, height, width)
        out = memory.empty(shape, dtype)
        block = min(channels, kernels.gradients.SPREAD_BLOCK)
        pairs = images * -(-channels // block)
        arguments = geometry.arguments((height, width))
        given = (order, source, batch, *arguments, block, sums, grad_last, last, layout.numbers(out))
        split(kernels.gradients.spread, pairs, *given)
        maps.append(out.permute(0, 3, 1, 2) if last else out)
    return maps


def grad_taps(maps: Sequence[Tensor], grad: Tensor, geometry: Geometry, axis: int, width: int) -> Tensor:
    """∂/∂ row taps (axis 0) or column taps (axis 1), [R, bins, width], zero outside their windows.

    ``geometry.taps`` holds the other axis' taps; this axis' taps are not read.
    """
    assert geometry.taps is not None
    rows, row_window, cols, col_window = geometry.taps
    window, other, other_window = (row_window, cols, col_window) if axis == 0 else (col_window, rows, row_window)
    wide = sum_dtype(maps[0].dtype)
    indices.check(geometry.batch, geometry.level, maps[0].shape[0], len(maps))
    chosen = backend.choose(grad.device)
    if chosen == "triton":
        from . import cuda

        return cuda.grad_taps(maps, grad, geometry, axis, width)
    if chosen == "reference" or not grad.shape[1]:
        found = reference.grad_rows if axis == 0 else reference.grad_cols
        taps = reference.windowed(other, other_window).to(wide)
        known = (window, taps) if axis == 0 else (taps, window)
        return found([x.to(wide) for x in maps], grad.to(wide), geometry.batch, geometry.level, *known, width)
    kernels = _numba()
    layout, split = kernels.layout, kernels.threads.split
    out = torch.zeros((grad.shape[0], window.shape[1], width), dtype=wide)
    order = (0, 2, 3, 1) if axis == 0 else (0, 3, 2, 1)
    upstream = grad.detach().to(wide).permute(order).contiguous().numpy()
    main, *arrays = (np.ascontiguousarray(t.detach().numpy()) for t in (window, other, other_window))
    batch, level = geometry.batch.numpy(), geometry.level.numpy()
    for at_level, x in enumerate(maps):
        images, channels, height, across = x.shape
        source = layout.channels_last(x).reshape(images, -1)
        strides = (across * channels, channels) if axis == 0 else (channels, across * channels)
        cells, limit = (across, height) if axis == 0 else (height, across)
        here = np.clip(main, 0, limit)  # taps made for several levels are as wide as the widest map
        split(
            kernels.gradients.grad_main, grad.shape[0], source, *strides, cells, upstream, batch, level, at_level,
            here, *arrays, cells + 2, out.numpy(), grain=2,
        )  # fmt: skip
    return out
