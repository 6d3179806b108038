"""Choosing cells: ``max_pool`` finds the largest of each bin and channel, ``chosen_pool`` reads chosen cells.

The derivative of the largest values spreads to the cells they were found in; reading and spreading there are each
other's derivative.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import indices
from ..operator import Sum, chosen, define, flatten, module
from .where import Chosen


def _of_index(taps, fixed, numbers):
    return Chosen(*fixed)


# fixed: batch and level [R] int64, index int32 [R, C, h, w]: see ``Chosen``
chosen_pool = Sum("chosen", __name__, _of_index, ("batch", "level", "index"))
NUMBERS = [1]  # cells of a part: there is no setting, and torch cannot differentiate past an empty list


def _select(maps, batch, level, row_window, col_window):
    indices.check(batch, level, maps[0].shape[0], len(maps))
    return module(__name__, chosen(maps[0].device)).select(maps, batch, level, row_window, col_window)


def _select_like(maps, batch, level, row_window, col_window):
    shape = (batch.shape[0], maps[0].shape[1], row_window.shape[1], col_window.shape[1])
    return maps[0].new_empty(shape), batch.new_empty(shape, dtype=torch.int32)


def _save(ctx, inputs, output):
    maps, batch, level, _, _ = inputs
    ctx.save_for_backward(batch, level, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)  # a zero for every index takes longer to make than the gradient
    ctx.shapes = flatten(maps)


def _backward(ctx, grad, _):
    if grad is None:  # what reads the values asks for no gradient
        return [None] * (len(ctx.shapes) // 4), None, None, None, None
    spread = chosen_pool.operators["maps"]
    return spread(grad, *ctx.saved_tensors, NUMBERS, ctx.shapes, False), None, None, None, None


_max_pool = define(
    "max_select(Tensor[] maps, Tensor batch, Tensor level, Tensor row_window, Tensor col_window) -> (Tensor, Tensor)",
    _select, _select_like, _backward, _save,
)  # fmt: skip


def max_pool(
    maps: Sequence[Tensor], batch: Tensor, level: Tensor, row_window: Tensor, col_window: Tensor
) -> tuple[Tensor, Tensor]:
    """The largest feature of each bin and channel, and the cell it was found in.

    Args:
        maps: one ``Tensor[B, C, H_l, W_l]`` per level.
        batch, level: ``Tensor[R]`` int64.
        row_window, col_window: int32 ``Tensor[R, h, 2]`` and ``Tensor[R, w, 2]``, the half-open ranges of cells of the
            bins; a row's that starts before the map marks a box that is not a number.

    Returns:
        ``Tensor[R, C, h, w]``, differentiable in the maps, and int32 ``Tensor[R, C, h, w]``, the winning cell v·W + u;
        an empty bin gives 0 and -1, a box that is not a number NaN and -2. Ties go to the first cell in raster order; a
        NaN never wins over a number.
    """
    return _max_pool(list(maps), batch, level, row_window, col_window)
