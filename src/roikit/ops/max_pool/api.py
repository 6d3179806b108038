"""``roikit::max_pool`` (values and winners), and ``max_scatter`` and ``max_gather`` at given winners.

The derivative of the values scatters to the winners, and scatter and gather are each other's derivative: closed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ... import boxes
from ...boxes import Rois
from .. import backend, indices, memory, visiting
from ..axis import Axis
from ..maps import cells_of, sum_dtype
from ..register import operator
from ..transforms import needs_plain_torch
from . import reference


def _flat(x: Tensor) -> np.ndarray:
    """[B, C, H, W] as a contiguous [B, C, H·W] array."""
    return x.detach().to(sum_dtype(x.dtype)).contiguous().flatten(2).numpy()


def _pool(maps, batch, level, row_window, col_window):
    indices.check(batch, level, maps[0].shape[0], len(maps))
    runs = backend.choose(maps[0].device)
    if runs == "triton":
        from . import cuda

        return cuda.select(maps, batch, level, row_window, col_window)
    if runs == "reference":
        index = reference.winners(maps, batch, level, row_window, col_window)
        return reference.gather(maps, index, batch, level), index
    from .. import layout, threads
    from . import cpu

    count, channels, dtype = batch.shape[0], maps[0].shape[1], maps[0].dtype
    shape = (count, channels, row_window.shape[1], col_window.shape[1])
    values, index = memory.empty(shape, dtype), memory.empty(shape, torch.int32)
    if not values.numel():
        return values, index
    windows = [np.ascontiguousarray(t.numpy()) for t in (row_window, col_window)]
    y, x = (window[:, window.shape[1] // 2, 0] for window in windows)
    given = (batch.numpy(), *windows, np.empty(0, memory.NUMPY[sum_dtype(dtype)]), memory.streamed(index))
    into = (layout.numbers(values.flatten(2)), index.flatten(2).numpy())
    for at, order in zip(maps, visiting.visits(batch.numpy(), level.numpy(), len(maps), y, x), strict=True):
        if len(order):
            source = layout.last_numbers(at)
            threads.split(cpu.select, len(order), order, source, *given, *into, grain=4)
    return values, index


def _pool_fake(maps, batch, level, row_window, col_window):
    shape = (batch.shape[0], maps[0].shape[1], row_window.shape[1], col_window.shape[1])
    return maps[0].new_empty(shape), batch.new_empty(shape, dtype=torch.int32)


def _pool_save(ctx, inputs, output):
    maps, batch, level, _, _ = inputs
    ctx.save_for_backward(output[1], batch, level)
    ctx.mark_non_differentiable(output[1])
    ctx.shapes = [size for x in maps for size in x.shape]


def _pool_backward(ctx, grad, _):
    return _max_scatter(grad, *ctx.saved_tensors, ctx.shapes), None, None, None, None


def _gather(maps, index, batch, level):
    indices.check(batch, level, maps[0].shape[0], len(maps))
    for at, x in enumerate(maps if indices.readable(index) else ()):
        mine = index if len(maps) == 1 else index[level == at]
        if mine.numel() and int(mine.max()) >= x.shape[2] * x.shape[3]:
            raise ValueError(f"the winners were chosen on a map larger than {x.shape[2]}×{x.shape[3]} cells")
    runs = backend.choose(index.device)
    if runs == "triton":
        from . import cuda

        return cuda.gather(maps, index, batch, level)
    if runs == "reference":
        return reference.gather(maps, index, batch, level)
    from .. import threads
    from . import cpu

    out = memory.empty(index.shape, sum_dtype(maps[0].dtype))
    cells, into = index.contiguous().flatten(2).numpy(), out.flatten(2).numpy()
    for at, x in enumerate(maps):
        threads.split(cpu.gather, len(cells), _flat(x), batch.numpy(), level.numpy(), at, cells, into, grain=4)
    return out if out.dtype == maps[0].dtype else out.to(maps[0].dtype)


def _gather_fake(maps, index, batch, level):
    return maps[0].new_empty(index.shape)


def _gather_save(ctx, inputs, output):
    maps, *rest = inputs
    ctx.save_for_backward(*rest)
    ctx.shapes = [size for x in maps for size in x.shape]


def _gather_backward(ctx, grad):
    return _max_scatter(grad, *ctx.saved_tensors, ctx.shapes), None, None, None


def _scatter(grad, index, batch, level, shapes):
    sizes = [list(shapes[i : i + 4]) for i in range(0, len(shapes), 4)]
    wide = sum_dtype(grad.dtype)
    indices.check(batch, level, sizes[0][0], len(sizes))
    runs = backend.choose(index.device)
    if runs == "triton":
        from . import cuda

        return cuda.scatter(grad, index, batch, level, sizes, wide)
    if runs == "reference":
        return [x.to(grad.dtype) for x in reference.scatter(grad.to(wide), index, batch, level, sizes)]
    from .. import layout, threads
    from . import cpu

    block = 16
    upstream, cells = layout.by_channel(grad), index.contiguous().flatten(2).numpy()
    maps = []
    for at, size in enumerate(sizes):
        out = memory.empty(size, wide)
        pairs = size[0] * -(-size[1] // block)
        into = out.flatten(2).numpy()
        threads.split(cpu.scatter, pairs, upstream, batch.numpy(), level.numpy(), at, cells, block, into)
        maps.append(out if wide == grad.dtype else out.to(grad.dtype))
    return maps


def _scatter_fake(grad, index, batch, level, shapes):
    return [grad.new_empty(list(shapes[i : i + 4])) for i in range(0, len(shapes), 4)]


def _scatter_save(ctx, inputs, output):
    ctx.save_for_backward(*inputs[1:4])


def _scatter_backward(ctx, grads):
    return _max_gather(list(grads), *ctx.saved_tensors), None, None, None, None


_max_pool = operator(
    "max_pool(Tensor[] maps, Tensor batch, Tensor level, Tensor row_window, Tensor col_window) -> (Tensor, Tensor)",
    _pool,
    _pool_fake,
    _pool_backward,
    _pool_save,
)
_max_gather = operator(
    "max_gather(Tensor[] maps, Tensor index, Tensor batch, Tensor level) -> Tensor",
    _gather, _gather_fake, _gather_backward, _gather_save,
)  # fmt: skip
_max_scatter = operator(
    "max_scatter(Tensor grad, Tensor index, Tensor batch, Tensor level, SymInt[] shapes) -> Tensor[]",
    _scatter, _scatter_fake, _scatter_backward, _scatter_save,
)  # fmt: skip


def max_pool(maps: Sequence[Tensor], rois: Rois, rows: Axis, cols: Axis) -> tuple[Tensor, Tensor]:
    """The largest feature of each bin and channel, and the cell it was found in.

    Args:
        maps: one ``Tensor[B, C, H_l, W_l]`` per level.
        rois: which image and level each region is read from.
        rows, cols: axes with a rule of whole cells; their windows are what the maximum is taken over.

    Returns:
        ``Tensor[R, C, h, w]``, differentiable in the maps, and int32 ``Tensor[R, C, h, w]``, the winning cell v·W + u;
        an empty bin gives 0 and -1, a box that is not a number (where values are not checked) NaN and -2. Ties go to
        the first cell in raster order; a NaN never wins over a number.
    """
    heights, widths = cells_of(maps, rois.level) if len(maps) > 1 else maps[0].shape[2:]
    row_window, col_window = rows.window(heights), cols.window(widths)
    if not boxes.checkable(rois.boxes):  # a window that starts at -1 marks a box that is not a number
        row_window = torch.where(torch.isnan(rows.lo)[:, None, None], -1, row_window)
    if not needs_plain_torch():
        return _max_pool(list(maps), rois.batch, rois.level, row_window, col_window)
    if torch._C._functorch.is_batchedtensor(row_window):
        raise NotImplementedError("max pooling cannot be vmapped over boxes: give all boxes to one call")
    index = reference.winners(maps, rois.batch, rois.level, row_window, col_window)
    return reference.gather(maps, index, rois.batch, rois.level), index


def gather(maps: Sequence[Tensor], index: Tensor, batch: Tensor, level: Tensor) -> Tensor:
    """The features at the chosen cells: ``Tensor[R, C, h, w]``, 0 where the index is -1 and NaN where it is -2."""
    if needs_plain_torch():
        return reference.gather(maps, index, batch, level)
    return _max_gather(list(maps), index, batch, level)
