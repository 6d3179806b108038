"""``roikit::grid_pool`` and ``roikit::grid_spread``: geometry in, the rule evaluated inside the kernel.

Each is the other's derivative in the maps, so reverse mode of any order needs nothing else. Nothing here has a size
that depends on the boxes' values.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..maps import is_channels_last
from ..register import operator
from ..transforms import needs_plain_torch
from ..trilinear import flatten, maps_like, unflatten
from . import backend, reference
from .backend import Geometry


def fake_pooled(maps: Sequence[Tensor], count: int, bins: Sequence[int]) -> Tensor:
    form = torch.channels_last if is_channels_last(maps[0]) else torch.contiguous_format
    shape = (count, maps[0].shape[1], *bins)
    return torch.empty(shape, dtype=maps[0].dtype, device=maps[0].device, memory_format=form)


def _pool(maps, batch, level, rows, cols, bins, rules, samples):
    return backend.pool(maps, Geometry(batch, level, tuple(bins), (rows, cols), tuple(rules), tuple(samples)))


def _pool_fake(maps, batch, level, rows, cols, bins, rules, samples):
    return fake_pooled(maps, batch.shape[0], bins)


def _pool_save(ctx, inputs, output):
    maps, *geometry, ctx.bins, ctx.rules, ctx.samples = inputs
    ctx.save_for_backward(*geometry)
    ctx.shapes, ctx.last = flatten(maps), is_channels_last(maps[0])


def _pool_backward(ctx, grad):
    found = _grid_spread(grad, *ctx.saved_tensors, ctx.bins, ctx.rules, ctx.samples, ctx.shapes, ctx.last)
    return found, None, None, None, None, None, None, None


def _spread(grad, batch, level, rows, cols, bins, rules, samples, shapes, last):
    geometry = Geometry(batch, level, tuple(bins), (rows, cols), tuple(rules), tuple(samples))
    return backend.spread(grad, geometry, unflatten(shapes), last)


def _spread_fake(grad, batch, level, rows, cols, bins, rules, samples, shapes, last):
    return maps_like(grad, unflatten(shapes), last)


def _spread_save(ctx, inputs, output):
    _, *geometry, ctx.bins, ctx.rules, ctx.samples, _, _ = inputs
    ctx.save_for_backward(*geometry)


def _spread_backward(ctx, grads):
    found = _grid_pool(list(grads), *ctx.saved_tensors, ctx.bins, ctx.rules, ctx.samples)
    return found, None, None, None, None, None, None, None, None, None


_GEOMETRY = "Tensor batch, Tensor level, Tensor rows, Tensor cols, int[] bins, int[] rules, int[] samples"
_grid_pool = operator(f"grid_pool(Tensor[] maps, {_GEOMETRY}) -> Tensor", _pool, _pool_fake, _pool_backward, _pool_save)
_grid_spread = operator(
    f"grid_spread(Tensor grad, {_GEOMETRY}, SymInt[] shapes, bool last) -> Tensor[]",
    _spread, _spread_fake, _spread_backward, _spread_save,
)  # fmt: skip


def grid_pool(
    maps: Sequence[Tensor],
    batch: Tensor,
    level: Tensor,
    rows: Tensor,
    cols: Tensor,
    bins: tuple[int, int],
    rules: tuple[int, int],
    samples: tuple[int, int],
) -> Tensor:
    """Pool RoIs whose bins are given as geometry.

    Args:
        maps: one ``Tensor[B, C, H_l, W_l]`` per level.
        batch, level: ``Tensor[R]`` int64.
        rows, cols: ``Tensor[R, 2]``, (lo, size) in feature cells; no gradient flows to them.
        bins: (h, w).
        rules: a number in ``ops.rules.NAMES`` for each axis.
        samples: samples per bin for each axis (rules that sample; ≤ 0 is adaptive).

    Returns:
        ``Tensor[R, C, h, w]`` in the maps' dtype, channels-last in memory where the maps are.
    """
    if needs_plain_torch():
        geometry = Geometry(batch, level, bins, (rows, cols), rules, samples)
        taps = geometry.explicit([x.shape[2:] for x in maps])
        return reference.pool(maps, batch, level, *(t.to(maps[0].dtype) for t in taps))
    return _grid_pool(list(maps), batch, level, rows, cols, list(bins), list(rules), list(samples))
