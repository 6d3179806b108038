"""Channels-last inside, NCHW outside: the copies between them, and half types to the type sums are made in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from . import jit, memory, threads

TILE = 32


def sum_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type a kernel computes in: half types are widened to float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def is_channels_last(x: Tensor) -> bool:
    """Whether [B, C, H, W] already lies in memory as [B, H, W, C]."""
    return x.permute(0, 2, 3, 1).is_contiguous()


@jit.kernel
def _to_last(start, stop, source, target, tile):
    """source [B, C, P] to target [B, P, C], for blocks of pixels; a tile stays in the cache while it is turned."""
    _, channels, pixels = source.shape
    blocks = (pixels + tile - 1) // tile
    for block in range(start, stop):
        b = block // blocks
        p0 = (block % blocks) * tile
        p1 = min(p0 + tile, pixels)
        for c0 in range(0, channels, 256):
            c1 = min(c0 + 256, channels)
            for p in range(p0, p1):
                for c in range(c0, c1):
                    target[b, p, c] = source[b, c, p]


KEEP = 256 << 20  # bytes: a larger copy is not kept
_kept: list[np.ndarray] = []  # at most one, flat; popping and appending are atomic


@contextlib.contextmanager
def borrowed(x: Tensor) -> Iterator[np.ndarray]:
    """``channels_last(x)`` for the time of a ``with`` block; the next one reuses the memory.

    Fresh memory for the copy of a 69 MB map costs more in page faults than the copying does.
    """
    if is_channels_last(x) or x.numel() * 4 > KEEP:
        yield channels_last(x)
        return
    wide = sum_dtype(x.dtype)
    try:
        flat = _kept.pop()
    except IndexError:
        flat = None
    if flat is None or flat.size < x.numel() or flat.dtype != memory.NUMPY[wide]:
        flat = memory.empty((x.numel(),), wide).numpy()
    batch, channels, height, width = x.shape
    target = flat[: x.numel()].reshape(batch, height, width, channels)
    yield _turn(x.detach().to(wide), target)
    _kept[:] = [flat]


def channels_last(x: Tensor) -> np.ndarray:
    """[B, C, H, W] as a contiguous [B, H, W, C] array in the sums' dtype; no copy where it already is one."""
    x = x.detach()
    wide = sum_dtype(x.dtype)
    if x.dtype != wide:
        x = x.to(wide)
    if is_channels_last(x):
        return x.permute(0, 2, 3, 1).numpy()
    batch, channels, height, width = x.shape
    return _turn(x, memory.empty((batch, height, width, channels), wide).numpy())


def _turn(x: Tensor, target: np.ndarray) -> np.ndarray:
    """Copy [B, C, H, W] into ``target`` [B, H, W, C]."""
    batch, channels, height, width = x.shape
    source = x.contiguous().numpy().reshape(batch, channels, height * width)
    blocks = (height * width + TILE - 1) // TILE
    threads.split(_to_last, batch * blocks, source, target.reshape(batch, height * width, channels), TILE, grain=8)
    return target
