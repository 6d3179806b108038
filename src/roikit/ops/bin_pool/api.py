"""One sum, two ways: geometry into the kernel, or taps where bins need gradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from ...boxes import Rois, of_level
from .. import rules
from ..axis import Axis
from ..grid_pool.reference import windowed
from ..transforms import needs_plain_torch
from ..trilinear import register_four, register_pair
from . import reference
from .sums import Bins, BinSums


@dataclasses.dataclass(frozen=True)
class Channels:
    """Which channels a bin reads: output channel c of bin k is base[r, k] + c · step.

    Args:
        run: number of output channels.
        step: distance between the channels of one bin.
        base: int64 ``Tensor[R, K]`` or ``Tensor[K]``, the first channel of each bin; ``None`` is 0 everywhere.
    """

    run: int
    step: int = 1
    base: Tensor | None = None

    def of(self, count: int, bins: int, device: torch.device) -> Tensor:
        base = torch.zeros(bins, dtype=torch.int64, device=device) if self.base is None else self.base
        return base.expand(count, bins)


def _fused(taps, fixed, numbers):
    batch, level, rows, cols, base = fixed
    step, run, rule_y, rule_x, samples_y, samples_x = numbers
    return Bins(batch, level, base, step, run, (rule_y, rule_x), (samples_y, samples_x), axes=(rows, cols))


def _explicit(taps, fixed, numbers):
    batch, level, row_window, col_window, base = fixed
    step, run = numbers
    return Bins(batch, level, base, step, run, taps=tuple(taps), windows=(row_window, col_window))


_bin_pool = register_pair("bin", ("batch", "level", "rows", "cols", "base"), BinSums(_fused))
_bin_tap_pool = register_four("bin_tap", ("batch", "level", "row_window", "col_window", "base"), BinSums(_explicit))


def pool(maps: Sequence[Tensor], rois: Rois, rows: Axis, cols: Axis, bins: int, channels: Channels) -> Tensor:
    """Weighted sums of R regions of K bins, each bin with its own row and column axis.

    Args:
        maps: one ``Tensor[B, C, H_l, W_l]`` per level.
        rois: which image and level each region is read from.
        rows, cols: axes of R·K regions of one bin each: entry r·K + k is bin k of RoI r.
        bins: K.
        channels: which channels each bin reads.

    Returns:
        ``Tensor[R, channels.run, K]`` in the maps' dtype. With no gradient to the axes one kernel evaluates the rule;
        otherwise taps are made, and the gradient flows through them.
    """
    count = rois.batch.shape[0]  # not len(): under export it is a symbol, of which len() would make a constant
    base = channels.of(count, bins, rois.batch.device)
    plain = needs_plain_torch()
    if not plain and not (torch.is_grad_enabled() and (rows.needs_grad or cols.needs_grad)):
        numbers = [channels.step, channels.run, rules.NUMBERS[rows.rule], rules.NUMBERS[cols.rule]]
        geometry = [torch.stack([a.lo, a.size], 1).reshape(count, bins, 2) for a in (rows, cols)]
        return _bin_pool(list(maps), rois.batch, rois.level, *geometry, base, [*numbers, rows.samples, cols.samples])
    row_taps, row_window = _taps(rows, rois.level, [x.shape[2] for x in maps], bins)
    col_taps, col_window = _taps(cols, rois.level, [x.shape[3] for x in maps], bins)
    if plain:
        taps = (windowed(row_taps, row_window).to(maps[0].dtype), windowed(col_taps, col_window).to(maps[0].dtype))
        return reference.pool(maps, rois.batch, rois.level, *taps, base, channels.step, channels.run)
    fixed = (rois.batch, rois.level, row_window, col_window, base)
    return _bin_tap_pool(list(maps), row_taps, col_taps, *fixed, [channels.step, channels.run])


def _taps(axis: Axis, level: Tensor, sizes: Sequence[int], bins: int) -> tuple[Tensor, Tensor]:
    """Taps [R, K, N] and windows [R, K, 2] of axes of R·K regions."""
    cells: int | Tensor = sizes[0]
    if len(sizes) > 1:
        cells = of_level(sizes, level).repeat_interleave(bins)
    taps, window = axis.windowed_taps(cells, max(sizes))
    shape = (level.shape[0], bins)
    return taps.reshape(*shape, max(sizes)), window.reshape(*shape, 2)
