"""A box in feature cells, as (lo, size) of each axis, the way each method reads it."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
from torch import Tensor

from ..rules.common import ceil, floor
from ..weights.axis import Axis

Geometry = tuple[Tensor, Tensor, Tensor, Tensor]  # row lo, row size, col lo, col size: Tensor[R] each, feature cells


def pair(output_size: int | Sequence[int]) -> tuple[int, int]:
    """An output size as (h, w); whole numbers of any type, NumPy's too.

    Raises:
        ValueError: not one or two positive whole numbers.
    """
    size = tuple(output_size) if isinstance(output_size, Sequence) else (output_size, output_size)
    try:
        whole_numbers = [operator.index(n) for n in size if not isinstance(n, bool)]
    except TypeError:
        whole_numbers = []
    if len(whole_numbers) != 2 or len(size) != 2 or min(whole_numbers) < 1:
        raise ValueError(f"output_size must be a positive int or a pair (h, w) of them, not {output_size!r}")
    return whole_numbers[0], whole_numbers[1]


def corners(cells: Tensor, shift: float = 0.0) -> Geometry:
    """The box as it is, moved by -shift: PrRoI Pooling (0), and RoI Align's pixel model (½)."""
    x1, y1, x2, y2 = (cells - shift if shift else cells).unbind(1)
    return y1, y2 - y1, x1, x2 - x1


def aligned(cells: Tensor, align: bool) -> Geometry:
    """RoI Align: shifted by -½ cell, or unshifted with sides of at least 1 cell (the original implementation)."""
    y, h, x, w = corners(cells, 0.5 if align else 0.0)
    return (y, h, x, w) if align else (y, h.clamp(min=1), x, w.clamp(min=1))


def whole(cells: Tensor) -> Tensor:
    """Rounded as C rounds, half away from zero (torch's own rounding takes halves to even)."""
    size = cells.abs()
    cut = floor(size)  # not torch.trunc: its MKL kernel hangs in a forked child
    cut = cut + (size - cut >= 0.5).to(cells.dtype)
    return torch.where(cells < 0, -cut, cut)  # not torch.copysign: it cannot be exported to ONNX


def rounded(cells: Tensor) -> Geometry:
    """RoI Pooling as Caffe rounds it: corners half away from zero, the last cell included, at least 1 cell."""
    y, h, x, w = corners(whole(cells))
    return y, (h + 1).clamp(min=1), x, (w + 1).clamp(min=1)


def warped(cells: Tensor) -> Geometry:
    """RoI Warping: unshifted, a box whose corners are exchanged has no size."""
    y, h, x, w = corners(cells)
    return y, h.clamp(min=0), x, w.clamp(min=0)


def axes(geometry: Geometry, bins: tuple[int, int], rule: str, samples: int = 0) -> tuple[Axis, Axis]:
    """A row axis and a column axis with one rule."""
    y, h, x, w = geometry
    return Axis(y, h, bins[0], rule, samples), Axis(x, w, bins[1], rule, samples)


def bins(
    geometry: Geometry, grid: tuple[int, int], rule: str, samples: int = 0, shift: Tensor | None = None
) -> tuple[Axis, Axis]:
    """A row axis and a column axis for every bin of a grid: axes of R·h·w regions of one bin each; where no bin moves,
    of R·h rows and R·w columns, which bins share.

    Args:
        geometry: the RoIs.
        grid: (h, w).
        rule, samples: as an ``Axis`` takes them.
        shift: ``Tensor[R, 2, h, w]``, (y, x) by which each bin is moved, in feature cells.
    """
    y, height, x, width = geometry
    starts, sizes = [], []
    for lo, size, count in ((y, height, grid[0]), (x, width, grid[1])):
        beta = (size / count)[:, None]
        starts.append(lo[:, None] + torch.arange(count, device=lo.device).to(lo.dtype) * beta)
        sizes.append(beta.expand(-1, count))
    if shift is None:
        starts, sizes = [start.reshape(-1) for start in starts], [size.reshape(-1) for size in sizes]
    else:
        starts, sizes = list(every_bin(*starts)), list(every_bin(*sizes))
        # An infinite move is NaN, so that it is seen, on both axes: with 0 added times it.
        moves = [moved.reshape(-1) for moved in shift.unbind(1)]
        spoilt = 0 * moves[0] + 0 * moves[1]
        starts = [start + moved + spoilt for start, moved in zip(starts, moves, strict=True)]
    rows, cols = (Axis(start, size, 1, rule, samples) for start, size in zip(starts, sizes, strict=True))
    return rows, cols


def rounded_bins(cells: Tensor, grid: tuple[int, int], counts: tuple[Tensor, Tensor]) -> tuple[Axis, Axis]:
    """Position-sensitive RoI pooling (R-FCN): bins of whole cells, their ends clipped to [0, N - 1].

    Corners are rounded half away from zero, the last cell is not included, sides are at least 1 cell; so, as in the
    original operator and torchvision's, the last row and column of the map are never read. Bins of a row share one:
    axes of R·h and of R·w regions.

    Args:
        cells: ``Tensor[R, 4]``, boxes in feature cells.
        grid: (h, w).
        counts: N of each RoI's map, rows and columns, ``Tensor[R]`` each.
    """
    y, height, x, width = corners(whole(cells))
    firsts, lengths = [], []
    for lo, size, bins_, count in ((y, height, grid[0], counts[0]), (x, width, grid[1], counts[1])):
        beta = (size.clamp(min=1) / bins_)[:, None]
        steps = torch.arange(bins_ + 1, device=lo.device).to(lo.dtype) * beta
        last = (count - 1).to(lo.dtype)[:, None]
        first = torch.minimum((floor(steps[:, :-1]) + lo[:, None]).clamp(min=0), last)
        stop = torch.minimum((ceil(steps[:, 1:]) + lo[:, None]).clamp(min=0), last)
        firsts.append(first)
        lengths.append((stop - first).clamp(min=0))
    rows, cols = (
        Axis(first.flatten(), length.flatten(), 1, "cells") for first, length in zip(firsts, lengths, strict=True)
    )
    return rows, cols


def whole_bins(cells: Tensor, grid: tuple[int, int]) -> tuple[Axis, Axis]:
    """Average RoI Pooling's bins (``rounded``) as axes of R·h·w regions, whose starts can be moved by whole cells."""
    y, height, x, width = rounded(cells)
    firsts, lengths = [], []
    for lo, size, bins_ in ((y, height, grid[0]), (x, width, grid[1])):
        steps = torch.arange(bins_ + 1, device=lo.device).to(lo.dtype) * (size / bins_)[:, None]
        first, stop = floor(steps[:, :-1]), ceil(steps[:, 1:])
        firsts.append(first + lo[:, None])
        lengths.append(stop - first)
    first_y, first_x = every_bin(*firsts)
    length_y, length_x = every_bin(*lengths)
    return Axis(first_y, length_y, 1, "cells"), Axis(first_x, length_x, 1, "cells")


def every_bin(rows: Tensor, cols: Tensor) -> tuple[Tensor, Tensor]:
    """[R, h] and [R, w] as two [R·h·w]: the row value and the column value of each bin."""
    shape = (rows.shape[0], rows.shape[1], cols.shape[1])
    return rows[:, :, None].expand(shape).reshape(-1), cols[:, None, :].expand(shape).reshape(-1)
