"""Inner loops over channels that the CPU kernels share. Imports Numba: only ``cpu.py`` modules import this.

``target[t + c]`` and ``source[s + c]`` for c < n; ``t``, ``s`` and ``n`` are unsigned, so that nothing wraps around and
the loops are vectorised.
"""

from __future__ import annotations

import numpy as np

from . import jit
from .vector import fused, narrow, widen

# Channels that forward kernels work on at a time: whole cells of most maps. Parts of cells would share few cache sets.
BLOCK = 256
PAD = 16  # keeps the lines of a block from falling into the same cache sets when they are turned


@jit.helper
def zero(target, t, n):
    for c in range(n):
        target[t + c] = 0


@jit.helper
def copy(target, t, source, s, n):
    for c in range(n):
        target[t + c] = narrow(source[s + c], target)


@jit.inner
def put(target, t, source, s, w, n):
    for c in range(n):
        target[t + c] = narrow(w * widen(source[s + c]), target)


@jit.inner
def put4(target, t, source, s, w, s2, w2, s3, w3, s4, w4, n):
    for c in range(n):
        total = fused(w2, widen(source[s2 + c]), w * widen(source[s + c]))
        total = fused(w3, widen(source[s3 + c]), total)
        target[t + c] = narrow(fused(w4, widen(source[s4 + c]), total), target)


@jit.inner
def add(target, t, source, s, w, n):
    for c in range(n):
        target[t + c] = fused(w, widen(source[s + c]), target[t + c])


@jit.inner
def add4(target, t, source, s, w, s2, w2, s3, w3, s4, w4, n):
    for c in range(n):
        total = fused(w, widen(source[s + c]), target[t + c])
        total = fused(w2, widen(source[s2 + c]), total)
        total = fused(w3, widen(source[s3 + c]), total)
        target[t + c] = fused(w4, widen(source[s4 + c]), total)


@jit.reduction
def dot(a, i, b, j, n):
    """Σ a[i + c] · b[j + c], n ≥ 1."""
    total = a[i] * b[j]
    for c in range(np.uintp(1), n):
        total += a[i + c] * b[j + c]
    return total
