"""What Triton kernels ask of a bin, whether its weights come from a rule or from explicit taps. Imports Triton."""

from __future__ import annotations

import triton
import triton.language as tl

from .gpu import TAPS, begin, bin_of, weigh, window


@triton.jit
def span(RULE: tl.constexpr, SAMPLES: tl.constexpr, BINS: tl.constexpr, axis, windows, r, i, cells):
    """[first, stop) of bin i of RoI r."""
    if RULE == TAPS:
        at = windows + 2 * (r * BINS + i)
        return tl.maximum(tl.load(at), 0), tl.minimum(tl.load(at + 1), cells)
    else:
        lo, beta, near, far = bin_of(axis, r, i, BINS)
        return window(RULE, SAMPLES, lo, beta, near, far, cells)


@triton.jit
def shared(RULE: tl.constexpr, SAMPLES: tl.constexpr, BINS: tl.constexpr, axis, r, i, first, stop, cells):
    """(start, β, share) of bin i of RoI r, for ``weights_of``."""
    if RULE == TAPS:
        return 0.0, 0.0, 0.0
    else:
        lo, beta, near, _ = bin_of(axis, r, i, BINS)
        start, share = begin(RULE, SAMPLES, lo, beta, near, first, stop, cells)
        return start, beta, share


@triton.jit
def weights_of(
    RULE: tl.constexpr, SAMPLES: tl.constexpr, BINS: tl.constexpr, taps, width, r, i,
    first, stop, start, beta, share, cells, cell, low, high,
):  # fmt: skip
    """What the cells ``cell``, all in [low, high], weigh in bin i of RoI r; taps are [R, BINS, width]."""
    if RULE == TAPS:
        return tl.load(taps + (r * BINS + i) * width + cell, (cell >= first) & (cell < stop), 0.0)
    else:
        return weigh(RULE, SAMPLES, start, beta, share, first, stop, cells, cell, low, high)
