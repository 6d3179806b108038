"""What Triton kernels ask of a bin, whether its weights come from a rule or from explicit taps. Imports Triton."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from .axes import Axes
from .rules_gpu import TAPS, begin, bin_of, weigh, window


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


def gpu_axes(axes: Axes) -> tuple[tuple[Tensor, ...], tuple[int, int], dict[str, Any]]:
    """Both axes as the kernels' arguments: axes, taps and windows; the widths of taps; constants."""
    rows, cols = (t.detach().contiguous() for t in (axes.rows, axes.cols))
    if axes.windows is not None:
        row_window, col_window = (t.contiguous() for t in axes.windows)
        numbers = {"RULE_Y": TAPS.value, "RULE_X": TAPS.value, "SAMPLES_Y": 0, "SAMPLES_X": 0}
        return (rows, cols, rows, row_window, cols, col_window), (rows.shape[2], cols.shape[2]), numbers
    numbers = dict(zip(("RULE_Y", "RULE_X"), axes.rules, strict=True))
    numbers |= {"SAMPLES_Y": max(axes.samples[0], 0), "SAMPLES_X": max(axes.samples[1], 0)}
    return (rows, cols, rows, rows, cols, cols), (0, 0), numbers
