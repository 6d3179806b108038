"""Separable sums: y[r, c, i, j] = Σ_v Σ_u rows[r, i, v] · cols[r, j, u] · x[b_r, c, v, u].

``grid_pool`` takes geometry and evaluates the rule inside one kernel (derivatives in the maps); ``tap_pool`` takes the
taps themselves and has derivatives in them too.
"""

from __future__ import annotations

from ..axes import Axes
from ..operator import Sum
from .where import Grid


def _of_rule(taps, fixed, numbers):
    batch, level, rows, cols = fixed
    h, w, rule_y, rule_x, samples_y, samples_x = numbers
    return Grid(batch, level, Axes(rows, cols, (h, w), (rule_y, rule_x), (samples_y, samples_x)))


def _of_taps(taps, fixed, numbers):
    (rows, cols), (batch, level, row_window, col_window) = taps, fixed
    h, w = numbers
    return Grid(batch, level, Axes(rows, cols, (h, w), windows=(row_window, col_window)))


# fixed: batch and level [R] int64, rows and cols [R, 2] of (lo, size); numbers: bins, rules and samples of each axis
grid_pool = Sum("grid", __name__, _of_rule, ("batch", "level", "rows", "cols"))
# taps: rows [R, h, N] and cols [R, w, M]; fixed: batch, level and int32 windows [R, bins, 2]; numbers: bins
tap_pool = Sum("tap", __name__, _of_taps, ("batch", "level", "row_window", "col_window"), taps=True)
