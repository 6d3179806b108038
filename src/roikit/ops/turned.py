"""What kernels that sum over channels have to turn: bins by channels into channels by bins, and back. Imports Numba."""

from __future__ import annotations

import numpy as np

from . import jit
from .loops import copy
from .vector import lanes, move, narrow, stream, turn


@jit.helper
def found(bins, pitch, like):
    """What ``upright`` reads: (room for whole tiles of ``bins`` lines of ``pitch`` numbers, a tile)."""
    vector = lanes(like)
    lines = (bins + vector - 1) // vector * vector
    return np.zeros(lines * pitch, like.dtype), np.empty(vector * vector, like.dtype)


@jit.helper
def flush(target, t, page, count, streaming):
    """target[t:] = page[:count]: past the caches where ``streaming``, which takes a target that starts aligned."""
    if not streaming:
        copy(target, np.uintp(t), page, np.uintp(0), np.uintp(count))
        return
    vector = lanes(page)
    head = min(-t % vector, count)
    copy(target, np.uintp(t), page, np.uintp(0), np.uintp(head))
    whole = head + (count - head) // vector * vector
    for k in range(head, whole, vector):
        stream(target, np.uintp(t + k), page, np.uintp(k))
    copy(target, np.uintp(t + whole), page, np.uintp(whole), np.uintp(count - whole))


@jit.helper
def upright(target, t, pitch, source, lead, channels, tile):
    """target[t + c · pitch + k] = source[k · lead + c] for k < pitch (the bins), c < channels, rounded to the target's
    type. ``source`` has whole tiles of bins, and of channels; ``tile`` holds one."""
    vector = lanes(source)
    for c0 in range(0, channels, vector):
        n = min(vector, channels - c0)
        for k0 in range(0, pitch, vector):
            turn(tile, np.uintp(0), np.uintp(vector), source, np.uintp(k0 * lead + c0), np.uintp(lead))
            if k0 + vector <= pitch:
                for c in range(n):
                    move(target, np.uintp(t + (c0 + c) * pitch + k0), tile, np.uintp(c * vector))
            else:
                for c in range(n):
                    for k in range(pitch - k0):
                        target[np.uintp(t + (c0 + c) * pitch + k0 + k)] = narrow(tile[np.uintp(c * vector + k)], target)
