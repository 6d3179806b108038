"""Sums whose bins lie anywhere and read channels of their own: y[r, c, k] = Σ_v Σ_u rows[r, k, v] · cols[r, k, u] ·
x[b_r, base[r, k] + c · step, v, u]."""

from __future__ import annotations

from ..axes import Axes
from ..operator import Sum
from .where import Bins


def _of_rule(taps, fixed, numbers):
    batch, level, rows, cols, base = fixed
    step, run, rule_y, rule_x, samples_y, samples_x = numbers
    axes = Axes(rows, cols, rules=(rule_y, rule_x), samples=(samples_y, samples_x))
    return Bins(batch, level, axes, base, step, run)


def _of_taps(taps, fixed, numbers):
    (rows, cols), (batch, level, row_window, col_window, base) = taps, fixed
    return Bins(batch, level, Axes(rows, cols, windows=(row_window, col_window)), base, *numbers)


# fixed: batch and level [R] int64, rows and cols [R, K, 2] of (lo, size), or [R, h, 2] and [R, w, 2] where bins make a
# grid, base [R, K] int64, the first channel of each bin; numbers: the distance of a bin's channels and how many it has,
# rules and samples of each axis
bin_pool = Sum("bin", __name__, _of_rule, ("batch", "level", "rows", "cols", "base"))
# taps: rows [R, K, N] and cols [R, K, M]; fixed: batch, level, int32 windows [R, K, 2], base; numbers: step and run
bin_tap_pool = Sum("bin_tap", __name__, _of_taps, ("batch", "level", "row_window", "col_window", "base"), taps=True)
