"""One sum, two ways: geometry into the kernel, or taps where boxes need gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...boxes import Rois, of_level
from .. import rules
from ..axis import Axis
from .fused import grid_pool
from .taps import full_window, tap_pool


def pool(maps: Sequence[Tensor], rois: Rois, rows: Axis | Tensor, cols: Axis | Tensor) -> Tensor:
    """Weighted sums of R regions.

    Args:
        maps: one ``Tensor[B, C, H_l, W_l]`` per level.
        rois: which image and level each region is read from.
        rows, cols: an ``Axis``, or explicit taps ``Tensor[R, bins, cells]`` with at least the largest map's cells.

    Returns:
        ``Tensor[R, C, h, w]`` in the maps' dtype. With no gradient to the axes one kernel evaluates the rule; otherwise
        taps are made, and the gradient flows through them.
    """
    if isinstance(rows, Axis) and isinstance(cols, Axis):
        if not (torch.is_grad_enabled() and (rows.needs_grad or cols.needs_grad)):
            return grid_pool(
                maps,
                rois.batch,
                rois.level,
                torch.stack([rows.lo, rows.size], 1),
                torch.stack([cols.lo, cols.size], 1),
                (rows.bins, cols.bins),
                (rules.NUMBERS[rows.rule], rules.NUMBERS[cols.rule]),
                (rows.samples, cols.samples),
            )
    row_taps, row_window = taps_of(rows, rois.level, [x.shape[2] for x in maps])
    col_taps, col_window = taps_of(cols, rois.level, [x.shape[3] for x in maps])
    return tap_pool(maps, rois.batch, rois.level, row_taps, row_window, col_taps, col_window)


def taps_of(axis: Axis | Tensor, level: Tensor, sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Taps ``Tensor[R, bins, N]`` and windows ``Tensor[R, bins, 2]`` for maps with ``sizes`` cells on this axis."""
    if isinstance(axis, Tensor):
        if axis.shape[-1] < max(sizes):
            raise ValueError(
                f"explicit taps reach {axis.shape[-1]} cells but the map has {max(sizes)}: give Tensor[R, bins, cells]"
            )
        return axis, full_window(axis)
    if len(sizes) == 1:
        return axis.windowed_taps(sizes[0])
    return axis.windowed_taps(of_level(sizes, level), max(sizes))
