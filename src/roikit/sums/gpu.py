"""What the Triton kernels share: how they are launched, and the small functions they call.

Importing this module imports Triton, so only the ``cuda.py`` modules and the rules' Triton forms do it, on first use.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import backend, indices


def run(kernel: Any, programs: Sequence[int], like: Tensor, *arguments: Any, warps: int = 4, **constants: Any) -> None:
    """Launch a kernel with a grid of ``programs`` on the device of ``like``; nothing waits for it.

    Multiplications and additions are not fused: one rounding decides which cell a RoI starts in. Sums over cells say
    ``tl.fma`` where they want it.

    Args:
        programs: at most three numbers, of which only the first may be more than 65535; with a 0 nothing runs.
        arguments: tensors, numbers, and tuples of them (one entry per level), in the kernel's order.
        warps: warps of 32 threads in a program.
        constants: the kernel's ``tl.constexpr`` arguments, by name.
    """
    if 0 in programs:
        return
    with torch.cuda.device(like.device) if like.is_cuda else contextlib.nullcontext():
        kernel[tuple(programs)](*arguments, **constants, num_warps=warps, enable_fp_fusion=False)


def empty(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Where outputs come from: not filled with anything, so a kernel has to write all of it."""
    return torch.empty(tuple(shape), dtype=dtype, device=device)


def stored(dtype: torch.dtype) -> torch.dtype:
    """The type a kernel writes results of ``dtype`` in: Triton's interpreter cuts to bfloat16 instead of rounding."""
    return torch.float32 if dtype == torch.bfloat16 and backend.interpreted() else dtype


def empty_maps(shapes: Sequence[Sequence[int]], dtype: torch.dtype, device: torch.device, last: bool) -> list[Tensor]:
    """A [B, C, H, W] of ``empty`` for each level, channels-last in memory where ``last``."""
    if not last:
        return [empty(s, dtype, device) for s in shapes]
    return [empty((b, h, w, c), dtype, device).permute(0, 3, 1, 2) for b, c, h, w in shapes]


def per_level(maps: Sequence[Tensor], last: bool) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """All levels as arguments of one kernel: the maps in one layout, copied only where they lie otherwise, and the
    sizes of each."""
    form = torch.channels_last if last else torch.contiguous_format
    return tuple(x.detach().contiguous(memory_format=form) for x in maps), sizes_of([x.shape for x in maps])


def sizes_of(shapes: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """(H, W) of each level as one number, which ``height_of`` and ``width_of`` take apart.

    An odd 64-bit number: Triton compiles a kernel anew for each pattern of numbers that are 1 or multiples of 16, and
    the sizes of maps change from batch to batch.
    """
    return tuple((int(s[2]) << 33) | (int(s[3]) << 1) | 1 for s in shapes)


def deterministic() -> bool:
    """Whether the order of sums must be the same in every run: no atomics."""
    return torch.are_deterministic_algorithms_enabled()


def by_map(batch: Tensor, level: Tensor, images: int, levels: int) -> tuple[Tensor, Tensor]:
    """RoIs in the order of the maps they are read from, for kernels in which a program owns a part of a map.

    Returns:
        int64 ``order``, ``Tensor[R]``: RoIs of level 0's image 0 first, in their own order, then those of image 1, …;
        int64 ``start``, ``Tensor[levels · images + 1]``: RoIs order[start[m] : start[m + 1]] are read from the map
        m = level · images + image. RoIs of images or levels that are not there come after all.
    """
    known = indices.known(batch, level, images, levels)
    key, order = torch.sort(torch.where(known, level * images + batch, levels * images), stable=True)
    return order, torch.searchsorted(key, torch.arange(levels * images + 1, device=key.device))


@triton.jit
def height_of(size):
    return (size >> 33).to(tl.int32)


@triton.jit
def width_of(size):
    return ((size >> 1) & 0x7FFFFFFF).to(tl.int32)


@triton.jit
def chosen(values, level):
    """The entry of a tuple (pointers or numbers, one per level) for a level known only when the kernel runs."""
    found = values[0]
    for i in tl.static_range(1, len(values)):
        found = tl.where(level == i, values[i], found)
    return found


@triton.jit
def map_of(maps, sizes, batch, level, r, images):
    """(pointer, image, height, width, whether they exist) of the map that RoI r is read from."""
    image, at = tl.load(batch + r), tl.load(level + r)
    exists = ((image >= 0) & (image < images)) & ((at >= 0) & (at < len(maps)))
    size = chosen(sizes, at)
    return chosen(maps, at), tl.where(exists, image, 0), height_of(size), width_of(size), exists


@triton.jit
def everywhere(condition, like):
    """A scalar condition as a block: one that is spread is a number in Triton 3.9's interpreter, and masks nothing."""
    return tl.broadcast_to(condition.to(tl.int32), like.shape) != 0


@triton.jit
def piece_of(sizes, images, piece, CELLS: tl.constexpr):
    """(level, image, row, first column, height, width) of CELLS cells of a map's row; pieces count through all
    maps."""
    at = 0
    for this in tl.static_range(len(sizes)):
        pieces = images * height_of(sizes[this]) * tl.cdiv(width_of(sizes[this]), CELLS)
        beyond = (at == this) & (piece >= pieces)
        at += beyond.to(tl.int32)
        piece -= tl.where(beyond, pieces, 0)
    size = chosen(sizes, at)
    height, width = height_of(size), width_of(size)
    across = tl.cdiv(width, CELLS)
    return at, piece // (height * across), piece // across % height, piece % across * CELLS, height, width


@triton.jit
def strides(height, width, channels, LAST: tl.constexpr):
    """(image, row, column, channel) strides of a [B, C, H, W] map in memory, 64 bit where they can be large."""
    if LAST:
        return height.to(tl.int64) * width * channels, width.to(tl.int64) * channels, channels, 1
    else:
        return height.to(tl.int64) * width * channels, width.to(tl.int64), 1, height.to(tl.int64) * width


@triton.jit
def quotient(a, b):
    """a / b, correctly rounded; Triton's own ``/`` is not, for float32."""
    if a.dtype == tl.float64:
        return a / b
    else:
        return tl.div_rn(a, b)


@triton.jit
def is_finite(x):
    """False for a NaN and for an infinity."""
    return (x - x) == 0
