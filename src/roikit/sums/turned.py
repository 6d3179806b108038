"""What kernels that sum over channels have to turn, bins by channels into channels by bins and back, and how they write
it. Imports Numba."""

from __future__ import annotations

import numpy as np

from . import jit
from .loops import copy
from .vector import lanes, move, narrow, stream, turn, widen

WIDE = 4  # tiles of bins that are turned together, so that what is written is a longer run of memory


@jit.helper
def turning_room(bins, pitch, like):
    """What ``upright`` reads: (room for whole tiles of ``bins`` lines of ``pitch`` numbers, tiles)."""
    vector = lanes(like)
    lines = (bins + vector - 1) // vector * vector
    return np.zeros(lines * pitch, like.dtype), np.empty(WIDE * vector * vector, like.dtype)


@jit.helper
def flush(target, t, source, count, streaming):
    """target[t:] = source[:count]: past the caches where ``streaming``, which takes a target that starts aligned."""
    if not streaming:
        copy(target, np.uintp(t), source, np.uintp(0), np.uintp(count))
        return
    vector = lanes(source)
    head = min(-t % vector, count)
    copy(target, np.uintp(t), source, np.uintp(0), np.uintp(head))
    whole = head + (count - head) // vector * vector
    for k in range(head, whole, vector):
        stream(target, np.uintp(t + k), source, np.uintp(k))
    copy(target, np.uintp(t + whole), source, np.uintp(whole), np.uintp(count - whole))


@jit.helper
def upright(target, t, pitch, source, lead, channels, tiles):
    """target[t + c · pitch + k] = source[k · lead + c] for k < pitch (the bins), c < channels, rounded to the target's
    type. ``source`` has whole tiles of bins, and of channels; ``tiles`` holds some."""
    vector = lanes(source)
    width = WIDE * vector
    for k0 in range(0, pitch, width):
        count = min(width, pitch - k0)
        for c0 in range(0, channels, vector):
            for k in range(0, count, vector):
                of = np.uintp((k0 + k) * lead + c0)
                turn(tiles, np.uintp(k), np.uintp(width), source, of, np.uintp(lead))
            for c in range(min(vector, channels - c0)):
                to, whole = t + (c0 + c) * pitch + k0, count // vector * vector
                for k in range(0, whole, vector):
                    move(target, np.uintp(to + k), tiles, np.uintp(c * width + k))
                for k in range(whole, count):
                    target[np.uintp(to + k)] = narrow(tiles[np.uintp(c * width + k)], target)


@jit.helper
def sideways(target, t, lead, source, s, pitch, bins, channels):
    """The reverse: target[t + k · lead + c] = source[s + c · pitch + k] for k < bins, c < channels."""
    tile = lanes(source)
    whole, even = bins // tile * tile, channels // tile * tile
    for c in range(0, even, tile):
        for k in range(0, whole, tile):
            to, of = np.uintp(t + k * lead + c), np.uintp(s + c * pitch + k)
            turn(target, to, np.uintp(lead), source, of, np.uintp(pitch))
    for c in range(channels):
        for k in range(whole if c < even else 0, bins):
            target[np.uintp(t + k * lead + c)] = widen(source[np.uintp(s + c * pitch + k)])
