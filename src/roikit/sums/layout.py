"""Channels-last inside, NCHW outside: the copies between them, and half types to the type sums are made in."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from . import jit, memory, threads
from .maps import sum_dtype
from .vector import lanes, turn


def numbers(x: Tensor) -> np.ndarray:
    """A tensor as a contiguous array of what it stores: a half type's bits (see vector.py)."""
    x = x.detach().contiguous()
    return (x.view(memory.BITS[x.dtype]) if x.dtype in memory.BITS else x).numpy()


def last_numbers(x: Tensor) -> np.ndarray:
    """The same of [B, C, H, W] as [B, H, W, C]; no copy where it already lies so."""
    if lies_last(x):
        return numbers(x.permute(0, 2, 3, 1))
    batch, channels, height, width = x.shape
    target = numbers(memory.empty((batch, height, width, channels), x.dtype))
    swap(numbers(x).reshape(batch, channels, height * width), target.reshape(batch, height * width, channels))
    return target


def lies_last(x: Tensor) -> bool:
    """Whether [B, C, H, W] already lies in memory as [B, H, W, C]."""
    return x.permute(0, 2, 3, 1).is_contiguous()


PIXELS = 64  # of a task: what is written is one run of memory


@jit.kernel
def _to_last(start, stop, source, target):
    """source [B, C, P] to target [B, P, C], for blocks of pixels, by tiles that are turned in registers."""
    _, channels, pixels = source.shape
    blocks = (pixels + PIXELS - 1) // PIXELS
    of, to = source.reshape(-1), target.reshape(-1)
    tile = lanes(of)
    whole = channels // tile * tile
    for block in range(start, stop):
        b, first = block // blocks, block % blocks * PIXELS
        last = min(first + PIXELS, pixels)
        full = first + (last - first) // tile * tile
        for c in range(0, whole, tile):
            for p in range(first, full, tile):
                turn(
                    to, np.uintp((b * pixels + p) * channels + c), np.uintp(channels),
                    of, np.uintp((b * channels + c) * pixels + p), np.uintp(pixels),
                )  # fmt: skip
        for p in range(first, last):
            for c in range(whole if p < full else 0, channels):
                target[b, p, c] = source[b, c, p]


def channels_last(x: Tensor) -> np.ndarray:
    """[B, C, H, W] as a contiguous [B, H, W, C] array in the sums' dtype; no copy where it already is one."""
    return last_numbers(x.detach().to(sum_dtype(x.dtype)))


def swap(source: np.ndarray, target: np.ndarray) -> None:
    """Copy ``source`` [B, M, N] into ``target`` [B, N, M]."""
    tasks = source.shape[0] * -(-source.shape[2] // PIXELS)
    threads.split(_to_last, tasks, source, target, grain=8)


def by_channel(x: Tensor) -> np.ndarray:
    """[B, C, H, W] as a contiguous [B, C, H·W] array in the sums' dtype."""
    x = x.detach().to(sum_dtype(x.dtype))
    if x.is_contiguous() or not lies_last(x) or not x.numel():
        return x.contiguous().flatten(2).numpy()
    found = memory.empty((*x.shape[:2], x.shape[2] * x.shape[3]), x.dtype).numpy()
    swap(x.permute(0, 2, 3, 1).flatten(1, 2).numpy(), found)
    return found
