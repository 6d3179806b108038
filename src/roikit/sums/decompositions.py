"""Every forward operator in torch's own operators, for programs that run without roikit (ONNX).

Unlike in the references no size depends on values, but for the lists of RoIs of several levels: the number of RoIs and
the sizes of maps stay symbols in an exported program. Weights are written out: a separable sum over H × W cells makes
``[R, h, C, W]`` on the way, the others ``[R, K, H·W]``, B times as many of B images.

RoI Align is ``torchvision::roi_align`` and max pooling ``torchvision::roi_pool``, for which exporters have operators.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .. import rules
from .attention import Samples
from .attention.reference import weights as attention_weights
from .axes import windowed
from .bins.where import each_bin
from .maximum import reference as chosen
from .points import taps as taps_of_points
from .points.reference import CORNERS, cell_index

HAT = rules.NUMBERS["hat"]


def table() -> dict[Any, Callable[..., Any]]:
    """For ``torch.export.ExportedProgram.run_decompositions``: what stands for each operator.

    The operators that are derivatives of others are not there: a program that trains keeps them.
    """
    import torchvision  # noqa: F401  (registers the operators that stand for RoI Align and max pooling)

    forward: dict[str, Callable[..., Any]] = {
        "attention_pool": _attention_pool,
        "bin_pool": _bin_pool,
        "bin_tap_pool": _bin_tap_pool,
        "chosen_pool": _chosen_pool,
        "grid_pool": _grid_pool,
        "max_select": _max_pool,
        "point_pool": _point_pool,
        "point_tap_pool": _point_tap_pool,
        "tap_pool": _tap_pool,
    }
    return {getattr(torch.ops.roikit, name).default: function for name, function in forward.items()}


def _by_level(maps: Sequence[Tensor], level: Tensor, function: Callable[..., Tensor], *given: Tensor) -> Tensor:
    """``function(map, its level, *given)``, of ``given`` the rows of that level; the results in the order of RoIs."""
    if len(maps) == 1:
        return function(maps[0], 0, *given)
    found, order = [], []
    for at, x in enumerate(maps):
        which = (level == at).nonzero()[:, 0]
        found.append(function(x, at, *(t[which] for t in given)))
        order.append(which)
    return torch.cat(found)[torch.argsort(torch.cat(order))]


def _placed(weights: Tensor, batch: Tensor, images: int) -> Tensor:
    """Weights [R, K, N] of one image's cells as [R, K, B·N] over all images' cells, 0 on those of other images."""
    if isinstance(images, int) and images == 1:
        return weights
    mine = batch[:, None] == torch.arange(images, device=batch.device)
    return torch.where(mine[:, None, :, None], weights[:, :, None], 0).flatten(2)


def _cells(x: Tensor) -> Tensor:
    """[B, C, H, W] as [B·H·W, C]."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def _taps(axis: Tensor, bins: int, rule: int, samples: int, cells: int) -> Tensor:
    """[R, bins, cells] of starts and sizes [R, 2]."""
    lo, size = axis.unbind(-1)
    return rules.RULES[rules.NAMES[rule]].taps(lo, size, bins, samples, cells, cells)[0]


def _grid_pool(maps, batch, level, rows, cols, numbers):
    bins, rules, samples = numbers[:2], numbers[2:4], numbers[4:]
    if list(rules) == [HAT, HAT] and max(samples[0], 0) == max(samples[1], 0):
        return _roi_align(maps, batch, level, rows, cols, bins, max(samples[0], 0))

    def pool(x, at, batch, rows, cols):
        axes = zip((rows, cols), bins, rules, samples, x.shape[2:], strict=True)
        return _separable(x, batch, *(_taps(*axis) for axis in axes))

    return _by_level(maps, level, pool, batch, rows, cols)


def _tap_pool(maps, rows, cols, batch, level, row_window, col_window, numbers):
    def pool(x, at, *given):
        return _separable(x, *given)

    rows, cols = windowed(rows, row_window), windowed(cols, col_window)
    return _by_level(maps, level, pool, batch, rows, cols)


def _separable(x, batch, rows, cols):
    """Rows [R, h, N] and columns [R, w, M], which may be those of larger maps."""
    images, channels, height, width = x.shape
    row = _placed(rows[:, :, :height].to(x.dtype), batch, images)
    by_row = x.permute(0, 2, 1, 3).reshape(images * height, channels * width)
    half = torch.matmul(row, by_row).unflatten(2, (channels, width))  # [R, h, C, W]
    col = cols[:, None, :, :width].to(x.dtype).transpose(2, 3)
    return torch.matmul(half, col).transpose(1, 2)


def _roi_align(maps, batch, level, rows, cols, bins, samples):
    """RoI Align of boxes in cells that are shifted already: by ½ cell more, which ``aligned=True`` takes back."""
    starts, ends = zip(*(_shifted(axis, samples == 0) for axis in (cols, rows)), strict=True)
    boxes = torch.stack([*starts, *ends], 1).to(maps[0].dtype)

    def pool(x, at, batch, boxes):
        rois = torch.cat([batch[:, None].to(boxes.dtype), boxes], 1)
        return torch.ops.torchvision.roi_align(x, rois, 1.0, bins[0], bins[1], samples, True)

    return _by_level(maps, level, pool, batch, boxes)


def _shifted(axis: Tensor, adaptive: bool) -> tuple[Tensor, Tensor]:
    """Start and end of (lo, size), moved by ½ cell.

    Adaptive samples are ⌈size / bins⌉: a size that is a whole multiple, once larger by a rounding, would get one more.
    So its end is then a little lower. A size below 0 has none, but torchvision cannot be asked for less than none.
    """
    lo, size = axis.unbind(1)
    size = size.clamp(min=0) if adaptive else size
    start = lo + 0.5
    back = start - 0.5
    end = back + size + 0.5
    if adaptive:
        lower = end - 2 * torch.finfo(end.dtype).eps * end.abs()
        end = torch.where((end - 0.5) - back > size, lower, end)
    return start, end


def _bin_pool(maps, batch, level, rows, cols, base, numbers):
    step, run, *rest = numbers

    def taps(x, rows, cols):
        found = []
        for axis, rule, samples, cells in zip((rows, cols), rest[:2], rest[2:], x.shape[2:], strict=True):
            found.append(_taps(axis.flatten(0, 1), 1, rule, samples, cells).reshape(*axis.shape[:2], cells))
        return each_bin(base.shape[1], *found)

    return _bins(maps, batch, level, taps, (rows, cols), base, step, run)


def _bin_tap_pool(maps, rows, cols, batch, level, row_window, col_window, base, numbers):
    def taps(x, rows, cols):
        return rows[:, :, : x.shape[2]], cols[:, :, : x.shape[3]]

    given = (windowed(rows, row_window), windowed(cols, col_window))
    return _bins(maps, batch, level, taps, given, base, *numbers)


def _bins(maps, batch, level, taps, given, base, step, run):
    """Bins of which each has channels and, by ``taps(map, *given)``, rows [R, K, H] and columns [R, K, W]."""
    shared = base.stride(0) == 0  # every RoI reads the same channels (there may be no RoI to ask)
    base = torch.cat([base, base.new_zeros(1, base.shape[1])])[0] if shared else base
    channels = base[..., None] + step * torch.arange(run, device=base.device)  # [K, run] or [R, K, run]

    def pool(x, at, batch, *given):
        rows, cols = taps(x, *given[:2])
        weights = (rows[:, :, :, None] * cols[:, :, None, :]).to(x.dtype).flatten(2)
        weights, cells = _placed(weights, batch, x.shape[0]), _cells(x)
        if run == x.shape[1]:
            return torch.matmul(weights, cells).transpose(1, 2)
        if shared:  # [K, R, cells] @ [K, cells, run]
            return torch.bmm(weights.transpose(0, 1), cells[:, channels].transpose(0, 1)).permute(1, 2, 0)
        return torch.gather(torch.matmul(weights, cells), 2, given[2]).transpose(1, 2)

    return _by_level(maps, level, pool, batch, *given, *([] if shared else [channels]))


def _point_pool(maps, batch, level, points, weights, numbers):
    def pool(x, at, batch, points, weights):
        height, width = (torch.full_like(batch, n) for n in x.shape[2:])
        return _points(x, batch, *taps_of_points(points, weights, (height, width)))

    return _by_level(maps, level, pool, batch, points, weights)


def _point_tap_pool(maps, rows, cols, batch, level, low, numbers):
    def pool(x, at, *given):
        return _points(x, *given)

    return _by_level(maps, level, pool, batch, rows, cols, low)


def _points(x, batch, rows, cols, low):
    """Samples of four cells each, from ``low`` on."""
    cells, corners = _cells(x), []
    for a, b in CORNERS:
        index, inside = cell_index(low, batch, a, b, x.shape[2], x.shape[3])
        weight = (rows[..., a] * cols[..., b] * inside).to(x.dtype)
        corners.append(torch.matmul(weight[:, :, None], cells[index])[:, :, 0])
    return (corners[0] + corners[1] + corners[2] + corners[3]).transpose(1, 2)


def _chosen_pool(maps, batch, level, index, numbers):
    return chosen.pool(maps, batch, level, index)


def _max_pool(maps, batch, level, row_window, col_window):
    """Every bin is a RoI of its own, of whole cells."""
    count, h, w = batch.shape[0], row_window.shape[1], col_window.shape[1]
    top, bottom = (edge[:, :, None].expand(count, h, w) for edge in row_window.unbind(2))
    left, right = (edge[:, None].expand(count, h, w) for edge in col_window.unbind(2))
    image = batch[:, None, None].to(top.dtype).expand(count, h, w)
    rois = torch.stack([image, left, top, right - 1, bottom - 1], 3)

    def pool(which):
        def one(x, at, rois):
            flat = rois.flatten(0, 2).to(x.dtype)
            found = torch.ops.torchvision.roi_pool(x, flat, 1.0, 1, 1)[which]
            return found.reshape(rois.shape[0], h, w, x.shape[1]).permute(0, 3, 1, 2)

        return _by_level(maps, level, one, rois)

    empty, unknown = ((bottom <= top) | (right <= left))[:, None], (top < 0)[:, None]
    values = torch.where(unknown, torch.nan, torch.where(empty, 0, pool(0)))
    index = torch.where(unknown, -2, torch.where(empty, -1, pool(1))).to(torch.int32)
    return values, index


def _attention_pool(maps, bias, rows, cols, batch, level, table):
    def pool(x, at, batch, rows, cols, *table):
        rows, cols = rows[:, :, : x.shape[2]], cols[:, :, : x.shape[3]]
        one = isinstance(x.shape[0], int) and x.shape[0] == 1
        mine = None if not bias else bias[at] if one else bias[at][batch]
        weights = attention_weights(rows, cols, mine, Samples(table[0]) if table else None)
        return torch.matmul(_placed(weights.to(x.dtype).flatten(2), batch, x.shape[0]), _cells(x))

    return _by_level(maps, level, pool, batch, rows, cols, *([] if table is None else [table]))
