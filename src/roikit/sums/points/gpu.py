"""The GPU kernels (Triton). A program sums a tile of bins × channels of one RoI; all levels are in one launch.

Where the maps lie channels-last a tile is [BINS, CHANNELS] and neighbouring threads read neighbouring channels;
otherwise it is [CHANNELS, BINS], and they read neighbouring bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

from .. import gpu, indices, sorted_sums
from ..gpu import everywhere, map_of, strides
from ..maps import cells_of, is_channels_last, sum_dtype

if TYPE_CHECKING:
    from .where import Samples

TILE = 512  # elements of a program's tile


@triton.jit
def _along(at, cells):
    """One axis: the low cell of a coordinate moved onto the map, and how far beyond that cell the sample lies."""
    moved = tl.minimum(tl.maximum(at, 0.0), (cells - 1).to(at.dtype))
    low = tl.floor(moved)
    part = tl.where(low < cells - 1, moved - low, 0.0)
    return low.to(tl.int32), tl.where(at != at, at, part)


@triton.jit
def _sample(points, weights, rows, cols, low, at, here, height, width, EXPLICIT: tl.constexpr):
    """The samples ``at``: low cells (v, u), row taps (their weight is in them) and column taps, two of each."""
    if EXPLICIT:
        v, u = tl.load(low + 2 * at, here, 0), tl.load(low + 2 * at + 1, here, 0)
        row, row2 = tl.load(rows + 2 * at, here, 0.0), tl.load(rows + 2 * at + 1, here, 0.0)
        col, col2 = tl.load(cols + 2 * at, here, 0.0), tl.load(cols + 2 * at + 1, here, 0.0)
        return v, u, row, row2, col, col2
    else:
        y, x = tl.load(points + 2 * at, here, 0.0), tl.load(points + 2 * at + 1, here, 0.0)
        w = tl.load(weights + at, here, 0.0)
        w = tl.where((y < -1) | (y > height) | (x < -1) | (x > width), 0.0, w)
        v, down = _along(y, height)
        u, across = _along(x, width)
        return v, u, w * (1 - down), w * down, 1 - across, across


@triton.jit
def _cell(v, u, w, height, width, step_v, step_u):
    """Where cell (v, u) lies in its image, and its weight: 0 beyond the map."""
    inside = (v >= 0) & (v < height) & (u >= 0) & (u < width)
    return v.to(tl.int64) * step_v + u.to(tl.int64) * step_u, tl.where(inside, w, 0.0)


@triton.jit
def _over_bins(values, LAST: tl.constexpr):
    return values[:, None] if LAST else values[None, :]


@triton.jit
def _over_channels(values, LAST: tl.constexpr):
    return values[None, :] if LAST else values[:, None]


@triton.jit
def _read(x, cell, w, of_channel, there, LAST: tl.constexpr):
    """The features at a cell for each bin; a cell of weight 0 is not read: it may lie beyond the map, or be infinite.

    ``of_channel`` and ``there``, whether there is such a channel, are [1, C] or [C, 1].
    """
    here = _over_bins(w != 0, LAST) & there
    return tl.load(x + (_over_bins(cell, LAST) + of_channel), here, 0.0).to(w.dtype)


@triton.jit
def _pool(
    maps, sizes, images, batch, level, points, weights, rows, cols, low, out, channels, bins, samples,
    EXPLICIT: tl.constexpr, LAST: tl.constexpr, BINS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    r = tl.program_id(0).to(tl.int64)
    k = tl.program_id(1) * BINS + tl.arange(0, BINS)
    c = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    x, image, height, width, known = map_of(maps, sizes, batch, level, r, images)
    step_b, step_v, step_u, step_c = strides(height, width, channels, LAST)
    x += image * step_b
    of_channel, there = _over_channels(c.to(tl.int64) * step_c, LAST), _over_channels(c < channels, LAST)
    here = (k < bins) & everywhere(known, k)
    kind: tl.constexpr = rows.dtype.element_ty
    total = tl.zeros([BINS, CHANNELS] if LAST else [CHANNELS, BINS], kind)
    for p in range(samples):
        v, u, row, row2, col, col2 = _sample(
            points, weights, rows, cols, low, (r * bins + k) * samples + p, here, height, width, EXPLICIT
        )
        cell, w = _cell(v, u, row * col, height, width, step_v, step_u)
        total = tl.fma(_read(x, cell, w, of_channel, there, LAST), _over_bins(w, LAST), total)
        cell, w = _cell(v, u + 1, row * col2, height, width, step_v, step_u)
        total = tl.fma(_read(x, cell, w, of_channel, there, LAST), _over_bins(w, LAST), total)
        cell, w = _cell(v + 1, u, row2 * col, height, width, step_v, step_u)
        total = tl.fma(_read(x, cell, w, of_channel, there, LAST), _over_bins(w, LAST), total)
        cell, w = _cell(v + 1, u + 1, row2 * col2, height, width, step_v, step_u)
        total = tl.fma(_read(x, cell, w, of_channel, there, LAST), _over_bins(w, LAST), total)
    total = tl.where(known, total, float("nan"))
    to = r * bins * channels + _over_bins(k * channels, LAST) + _over_channels(c, LAST)
    if not LAST:
        to = r * bins * channels + _over_bins(k, LAST) + _over_channels(c * bins, LAST)
    here = _over_bins(k < bins, LAST) & there
    tl.store(out + to, total.to(out.dtype.element_ty), here)


@triton.jit
def _add(x, cell, w, of_channel, there, grad, LAST: tl.constexpr):
    here = _over_bins(w != 0, LAST) & there
    tl.atomic_add(x + (_over_bins(cell, LAST) + of_channel), _over_bins(w, LAST) * grad, here, sem="relaxed")


@triton.jit
def _spread(
    maps, sizes, images, batch, level, points, weights, rows, cols, low, grad, step_r, step_gc, step_k, channels, bins,
    samples, EXPLICIT: tl.constexpr, LAST: tl.constexpr, BINS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """grad [R, C, K], with its strides, added to the maps, in no certain order."""
    r = tl.program_id(0).to(tl.int64)
    k = tl.program_id(1) * BINS + tl.arange(0, BINS)
    c = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    x, image, height, width, known = map_of(maps, sizes, batch, level, r, images)
    step_b, step_v, step_u, step_c = strides(height, width, channels, LAST)
    x += image * step_b
    of_channel, there = _over_channels(c.to(tl.int64) * step_c, LAST), _over_channels(c < channels, LAST)
    here = (k < bins) & everywhere(known, k)
    kind: tl.constexpr = rows.dtype.element_ty
    source = grad + r * step_r + _over_bins(k * step_k, LAST) + _over_channels(c * step_gc, LAST)
    g = tl.load(source, _over_bins(here, LAST) & there, 0.0).to(kind)
    for p in range(samples):
        v, u, row, row2, col, col2 = _sample(
            points, weights, rows, cols, low, (r * bins + k) * samples + p, here, height, width, EXPLICIT
        )
        cell, w = _cell(v, u, row * col, height, width, step_v, step_u)
        _add(x, cell, w, of_channel, there, g, LAST)
        cell, w = _cell(v, u + 1, row * col2, height, width, step_v, step_u)
        _add(x, cell, w, of_channel, there, g, LAST)
        cell, w = _cell(v + 1, u, row2 * col, height, width, step_v, step_u)
        _add(x, cell, w, of_channel, there, g, LAST)
        cell, w = _cell(v + 1, u + 1, row2 * col2, height, width, step_v, step_u)
        _add(x, cell, w, of_channel, there, g, LAST)


@triton.jit
def _grad_taps(
    maps, sizes, images, batch, level, other, low, grad, step_r, step_gc, step_k, out, channels, bins, samples,
    AXIS: tl.constexpr, LAST: tl.constexpr, BINS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """∂/∂ row taps (AXIS 0) or column taps (AXIS 1): out [R, K, P, 2]; here BINS samples of one RoI are a program."""
    r = tl.program_id(0).to(tl.int64)
    s = tl.program_id(1) * BINS + tl.arange(0, BINS)
    x, image, height, width, known = map_of(maps, sizes, batch, level, r, images)
    step_b, step_v, step_u, step_c = strides(height, width, channels, LAST)
    x += image * step_b
    here = s < bins * samples
    at = r * bins * samples + s
    kind: tl.constexpr = other.dtype.element_ty
    v, u = tl.load(low + 2 * at, here, 0), tl.load(low + 2 * at + 1, here, 0)
    read = here & everywhere(known, s)
    w, w2 = tl.load(other + 2 * at, read, 0.0), tl.load(other + 2 * at + 1, read, 0.0)
    cell00, w00 = _cell(v, u, w, height, width, step_v, step_u)
    cell11, w11 = _cell(v + 1, u + 1, w2, height, width, step_v, step_u)
    # The other axis' low and high cell: of the low row (or column), then of the high one.
    if AXIS == 0:
        cell01, w01 = _cell(v, u + 1, w2, height, width, step_v, step_u)
        cell10, w10 = _cell(v + 1, u, w, height, width, step_v, step_u)
    else:
        cell01, w01 = _cell(v + 1, u, w2, height, width, step_v, step_u)
        cell10, w10 = _cell(v, u + 1, w, height, width, step_v, step_u)
    total = tl.zeros([BINS, CHANNELS] if LAST else [CHANNELS, BINS], kind)
    total2 = tl.zeros([BINS, CHANNELS] if LAST else [CHANNELS, BINS], kind)
    of_bin = _over_bins(s // samples * step_k, LAST)
    for c0 in range(0, channels, CHANNELS):
        c = c0 + tl.arange(0, CHANNELS)
        of_channel, there = _over_channels(c.to(tl.int64) * step_c, LAST), _over_channels(c < channels, LAST)
        source = grad + r * step_r + of_bin + _over_channels(c * step_gc, LAST)
        g = tl.load(source, _over_bins(read, LAST) & there, 0.0).to(kind)
        found = _read(x, cell00, w00, of_channel, there, LAST) * _over_bins(w00, LAST)
        found = tl.fma(_read(x, cell01, w01, of_channel, there, LAST), _over_bins(w01, LAST), found)
        total = tl.fma(g, found, total)
        found = _read(x, cell10, w10, of_channel, there, LAST) * _over_bins(w10, LAST)
        found = tl.fma(_read(x, cell11, w11, of_channel, there, LAST), _over_bins(w11, LAST), found)
        total2 = tl.fma(g, found, total2)
    low_tap, high_tap = tl.sum(total, 1 if LAST else 0), tl.sum(total2, 1 if LAST else 0)
    tl.store(out + 2 * at, tl.where(known, low_tap, float("nan")), here)
    tl.store(out + 2 * at + 1, tl.where(known, high_tap, float("nan")), here)


def _tile(bins: int, channels: int, last: bool) -> dict[str, int]:
    """BINS × CHANNELS of a program: as many as there are on the axis on which threads are neighbours."""
    most = [triton.next_power_of_2(max(1, n)) for n in (bins, channels)]
    if last:
        across = min(most[1], 128)
        return {"BINS": min(most[0], TILE // across), "CHANNELS": across}
    down = min(most[0], 64)
    return {"BINS": down, "CHANNELS": min(most[1], TILE // down)}


def _said(samples: Samples, kind: torch.dtype) -> tuple[list[Tensor], bool]:
    """The samples as the kernels' arguments: points, weights, rows, cols and low."""
    given = (samples.points, samples.weights, samples.rows, samples.cols, samples.low)
    explicit = samples.low is not None
    none = samples.rows if explicit else samples.points  # not read
    assert none is not None
    tensors = [none if t is None else t.detach() for t in given]
    return [t if t.dtype == torch.int32 else t.to(kind).contiguous() for t in tensors], explicit


def _grid(count: int, bins: int, channels: int, tile: dict[str, int]) -> tuple[int, int, int]:
    return count, triton.cdiv(bins, tile["BINS"]), triton.cdiv(channels, tile["CHANNELS"])


def pool(maps: Sequence[Tensor], samples: Samples, last: bool) -> Tensor:
    """[R, C, K] in the maps' dtype, lying as [R, K, C] where ``last``."""
    (count, bins, number), kind = samples.size, sum_dtype(maps[0].dtype)
    dtype, channels = maps[0].dtype, maps[0].shape[1]
    out = gpu.empty((count, bins, channels) if last else (count, channels, bins), gpu.stored(dtype), maps[0].device)
    (sources, sizes), (said, explicit) = gpu.per_level(maps, last), _said(samples, kind)
    tile = _tile(bins, channels, last)
    gpu.run(
        _pool, _grid(count, bins, channels, tile), out, sources, sizes, maps[0].shape[0], samples.batch, samples.level,
        *said, out, channels, bins, number, EXPLICIT=explicit, LAST=last, **tile,
    )  # fmt: skip
    return (out.transpose(1, 2) if last else out).to(dtype)


def spread(grad: Tensor, samples: Samples, shapes: Sequence[Sequence[int]], last: bool) -> list[Tensor]:
    """One [B, C, H_l, W_l] per level, in the type of ``grad`` [R, C, K]."""
    kind = sum_dtype(grad.dtype)
    if gpu.deterministic():
        return _spread_in_order(grad, samples, kind, shapes, last)
    count, bins, number = samples.size
    channels = grad.shape[1]
    maps = [m.zero_() for m in gpu.empty_maps(shapes, kind, grad.device, last)]
    said, explicit = _said(samples, kind)
    tile = _tile(bins, channels, last)
    gpu.run(
        _spread, _grid(count, bins, channels, tile), grad, tuple(maps), gpu.sizes_of(shapes), shapes[0][0],
        samples.batch, samples.level, *said, grad.detach(), *grad.stride(), channels, bins, number,
        EXPLICIT=explicit, LAST=last, **tile,
    )  # fmt: skip
    return [m.to(grad.dtype) for m in maps]


def _spread_in_order(grad, samples, kind, shapes, last):
    """A sample adds to four cells: contributions sorted by cell."""
    cells = cells_of(shapes, samples.level)
    rows, cols, low = samples.definition([s[2:] for s in shapes])
    level, batch = (t[:, None, None, None, None] for t in (samples.level, samples.batch))
    v, u = (low[..., axis, None, None].long() for axis in (0, 1))
    ahead = torch.arange(2, device=grad.device)
    v, u = v + ahead[:, None], u + ahead  # [R, K, P, 2, 1] and [R, K, P, 1, 2]
    height, width = (n[:, None, None, None, None] for n in cells)
    weights = rows.to(kind)[..., :, None] * cols.to(kind)[..., None, :]
    known = indices.known(batch, level, shapes[0][0], len(shapes))
    inside = known & (v >= 0) & (v < height) & (u >= 0) & (u < width) & (weights != 0)
    cell = torch.where(inside, (batch * height + v) * width + u, 0)
    number = sorted_sums.numbers(cell, torch.where(inside, level, -1), shapes)
    values = grad.detach().to(kind).transpose(1, 2).flatten(0, 1).contiguous()
    return sorted_sums.add_up(values, weights.flatten(), number.flatten(), shapes, grad.dtype, last)


def grad_taps(maps: Sequence[Tensor], other: Tensor, grad: Tensor, samples: Samples, axis: int, width: int) -> Tensor:
    """∂/∂ row taps (axis 0) or column taps (axis 1), [R, K, P, 2]; ``other``: the other axis' taps."""
    kind = sum_dtype(grad.dtype)
    count, bins, number = samples.size
    channels, last = maps[0].shape[1], is_channels_last(maps[0])
    out = gpu.empty(other.shape, kind, other.device)
    sources, sizes = gpu.per_level(maps, last)
    tile = _tile(bins * number, channels, last)
    assert samples.low is not None
    gpu.run(
        _grad_taps, (count, triton.cdiv(bins * number, tile["BINS"])), out, sources, sizes, maps[0].shape[0],
        samples.batch, samples.level, other.detach().to(kind).contiguous(), samples.low.contiguous(), grad.detach(),
        *grad.stride(), out, channels, bins, number, AXIS=axis, LAST=last, **tile,
    )  # fmt: skip
    return out
