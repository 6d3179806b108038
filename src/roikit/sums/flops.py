"""How many operations each operator takes, for ``torch.utils.flop_counter``.

Torch's way: two for a multiplication and an addition, of the definition and not of the kernel. All four sums of a
pooling, itself and its derivatives, have one such pair for every bin, cell that the bin reads, and channel. Attention
has one for every part, cell of its support, and channel; its derivative twice that, the derivative of that five times.
Max pooling has one comparison for each cell, and scattering to the winners one addition for each. Taps, logits and
softmax are not counted.

How many cells a bin reads may depend on values, and is read from them. For tensors without values (fake, meta) it is
estimated from shapes: a fixed number of samples reads as many cells as it can; otherwise a RoI is as large as the
largest map, and its bins divide it evenly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, prod, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import rules
from .attention import Samples
from .axes import windowed
from .bins.where import each_bin
from .operator import unflatten

Sizes = Sequence[Sequence[int]]  # (H, W) of each level
Counts = np.ndarray  # not tensors: where tensors have no values, new ones have none either


def register() -> None:
    """Tell torch's counter the formulas; what counts calls it (importing the counter takes half a second)."""
    from torch.utils import flop_counter

    from . import bins, maximum, points, separable  # noqa: F401  (which register their operators)

    _tell(flop_counter)


def _tell(counter: Any) -> None:
    for name, formula in FORMULAS.items():
        operator = getattr(torch.ops.roikit, name)
        if operator not in counter.flop_registry:
            counter.register_flop_formula(operator, get_raw=True)(_without_result(formula))


def _without_result(formula: Callable[..., int]) -> Callable[..., int]:
    def count(*arguments, out_val=None, **named):
        return int(formula(*arguments, **named))

    count._get_raw = True  # type: ignore[attr-defined]  # FlopCounterMode's custom_mapping asks for it
    return count


def _readable(*tensors: Tensor) -> bool:
    return all(type(t) in (Tensor, torch.nn.Parameter) and t.device.type != "meta" for t in tensors)


def _sizes(maps: Sequence[Tensor] | Sequence[int]) -> Sizes:
    """(H, W) of each level, of maps or of their flat shapes."""
    if len(maps) and isinstance(maps[0], Tensor):
        return [x.shape[2:] for x in maps]  # type: ignore[union-attr]  # all are, as the first
    return [shape[2:] for shape in unflatten(maps)]  # type: ignore[arg-type]  # numbers


def _most(sizes: Sizes, axis: int) -> int:
    return max(size[axis] for size in sizes)


def _even(cells: int, bins: float) -> int:
    """Cells that a bin reads of a RoI as large as the map: its share, and one beyond either end."""
    return min(cells, ceil(cells / bins) + 2)


def _of_rule(
    axes: Tensor, level: Tensor, bins: int, share: float, rule: int, samples: int, sizes: Sizes, axis: int
) -> Counts:
    """Cells with a weight, [N, bins], of N starts and sizes [N, 2]. ``share``: into how many bins a map is divided."""
    most, name = _most(sizes, axis), rules.NAMES[rule]
    if _readable(axes, level):
        cells = torch.tensor([size[axis] for size in sizes], device=level.device)[level]
        taps = rules.RULES[name].taps(*axes.unbind(1), bins, samples, cells, most)[0]
        return (taps != 0).sum(2).cpu().numpy()
    if name == "adaptive":
        number = min(2, most)
    elif name in ("hat", "edge") and samples > 0:
        number = min(2 * samples, most)
    else:
        number = _even(most, share)
    return np.full((axes.shape[0], bins), number)


def _of_taps(taps: Tensor, window: Tensor, share: float) -> Counts:
    """Cells with a weight, [R, bins], of explicit taps [R, bins, N]."""
    if _readable(taps, window):
        return (windowed(taps, window) != 0).sum(2).cpu().numpy()
    return np.full(taps.shape[:2], _even(taps.shape[2], share))


def _of_window(window: Tensor, share: float, most: int) -> Counts:
    """Cells in the windows [R, bins, 2], which are those with a gradient, or to choose from."""
    if _readable(window):
        first, stop = window.long().clamp(0, most).unbind(2)
        return (stop - first).clamp(min=0).cpu().numpy()
    return np.full(window.shape[:2], _even(most, share))


def _separable(rows: Counts, cols: Counts) -> int:
    """Cells of all bins (i, j), from [R, h] and [R, w]."""
    return int((rows.sum(1) * cols.sum(1)).sum())


def _each(rows: Counts, cols: Counts) -> int:
    """Cells of all bins k, from [R, K] and [R, K]."""
    return int((rows * cols).sum())


def _grid(channels, sizes, level, rows, cols, numbers):
    given = zip((rows, cols), numbers[:2], numbers[2:4], numbers[4:], (0, 1), strict=True)
    return 2 * channels * _separable(*(_of_rule(a, level, n, n, rule, s, sizes, axis) for a, n, rule, s, axis in given))


def _grid_pool(maps, batch, level, rows, cols, numbers):
    return _grid(maps[0].shape[1], _sizes(maps), level, rows, cols, numbers)


def _grid_spread(grad, batch, level, rows, cols, numbers, shapes, last):
    return _grid(grad.shape[1], _sizes(shapes), level, rows, cols, numbers)


def _tap_pool(maps, rows, cols, batch, level, row_window, col_window, numbers):
    given = ((rows, row_window), (cols, col_window))
    return 2 * maps[0].shape[1] * _separable(*(_of_taps(taps, window, taps.shape[1]) for taps, window in given))


def _tap_spread(rows, cols, grad, batch, level, row_window, col_window, numbers, shapes, last):
    return _tap_pool([grad], rows, cols, batch, level, row_window, col_window, numbers)


def _tap_rows(maps, cols, grad, batch, level, row_window, col_window, numbers, width):
    rows = _of_window(row_window, row_window.shape[1], width)
    return 2 * maps[0].shape[1] * _separable(rows, _of_taps(cols, col_window, cols.shape[1]))


def _tap_cols(maps, rows, grad, batch, level, row_window, col_window, numbers, width):
    return _tap_rows(maps, rows, grad, batch, level, col_window, row_window, numbers, width)


def _bins(sizes, level, rows, cols, base, numbers):
    _, run, *rest = numbers
    bins = base.shape[1]
    rows, cols = each_bin(bins, rows, cols)
    each = level.repeat_interleave(bins)
    given = zip((rows, cols), rest[:2], rest[2:], (0, 1), strict=True)
    found = (_of_rule(a.flatten(0, 1), each, 1, sqrt(bins), rule, s, sizes, axis) for a, rule, s, axis in given)
    return 2 * run * _each(*found)


def _bin_pool(maps, batch, level, rows, cols, base, numbers):
    return _bins(_sizes(maps), level, rows, cols, base, numbers)


def _bin_spread(grad, batch, level, rows, cols, base, numbers, shapes, last):
    return _bins(_sizes(shapes), level, rows, cols, base, numbers)


def _bin_tap_pool(maps, rows, cols, batch, level, row_window, col_window, base, numbers):
    given = ((rows, row_window), (cols, col_window))
    return 2 * numbers[1] * _each(*(_of_taps(taps, window, sqrt(taps.shape[1])) for taps, window in given))


def _bin_tap_spread(rows, cols, grad, batch, level, row_window, col_window, base, numbers, shapes, last):
    return _bin_tap_pool(None, rows, cols, batch, level, row_window, col_window, base, numbers)


def _bin_tap_rows(maps, cols, grad, batch, level, row_window, col_window, base, numbers, width):
    share = sqrt(cols.shape[1])
    return 2 * numbers[1] * _each(_of_window(row_window, share, width), _of_taps(cols, col_window, share))


def _bin_tap_cols(maps, rows, grad, batch, level, row_window, col_window, base, numbers, width):
    return _bin_tap_rows(maps, rows, grad, batch, level, col_window, row_window, base, numbers, width)


def _points(channels, samples):
    """Four cells for each of ``samples`` [R, K, P, 2]."""
    return 2 * channels * 4 * prod(samples.shape[:3])


def _max_pool(maps, batch, level, row_window, col_window):
    given = zip((row_window, col_window), (0, 1), strict=True)
    counts = (_of_window(window, window.shape[1], _most(_sizes(maps), axis)) for window, axis in given)
    return maps[0].shape[1] * _separable(*counts)


def _attention(maps, rows, cols, batch, level, table):
    """2 · C · the cells of all parts' supports."""
    channels, sizes = maps[0].shape[1], _sizes(maps)
    if not _readable(rows, cols, level):
        return 2 * channels * rows.shape[0] * rows.shape[1] * max(height * width for height, width in sizes)
    total = 0.0
    for at, (height, width) in enumerate(sizes):
        mine = level == at
        row, col = ((logits[mine, :, :n] > -torch.inf).double() for logits, n in ((rows, height), (cols, width)))
        if table is None:
            total += float((row.sum(2) * col.sum(2)).sum())
        else:
            inside = Samples(table[mine]).mask(height, width).double()
            total += float((torch.bmm(row, inside) * col).sum())
    return 2 * channels * round(total)


FORMULAS: dict[str, Callable[..., int]] = {
    "grid_pool": _grid_pool,
    "grid_spread": _grid_spread,
    "tap_pool": _tap_pool,
    "tap_spread": _tap_spread,
    "tap_rows": _tap_rows,
    "tap_cols": _tap_cols,
    "bin_pool": _bin_pool,
    "bin_spread": _bin_spread,
    "bin_tap_pool": _bin_tap_pool,
    "bin_tap_spread": _bin_tap_spread,
    "bin_tap_rows": _bin_tap_rows,
    "bin_tap_cols": _bin_tap_cols,
    "point_pool": lambda maps, batch, level, points, *rest: _points(maps[0].shape[1], points),
    "point_spread": lambda grad, batch, level, points, *rest: _points(grad.shape[1], points),
    "point_tap_pool": lambda maps, rows, *rest: _points(maps[0].shape[1], rows),
    "point_tap_spread": lambda rows, cols, grad, *rest: _points(grad.shape[1], rows),
    "point_tap_rows": lambda maps, cols, *rest: _points(maps[0].shape[1], cols),
    "point_tap_cols": lambda maps, rows, *rest: _points(maps[0].shape[1], rows),
    "max_select": _max_pool,
    "chosen_pool": lambda *given: 0,
    "chosen_spread": lambda grad, *rest: grad.numel(),
    "attention_pool": lambda maps, bias, *rest: _attention(maps, *rest),
    "attention_backward": lambda grad, maps, bias, *rest: 2 * _attention(maps, *rest),
    "attention_second": lambda grad, direction, maps, bias, *rest: 5 * _attention(maps, *rest),
}
