"""Sums over free bilinear sample points: y[r, c, k] = Σ_p weights[r, k, p] · x[b_r, c](points[r, k, p])."""

from __future__ import annotations

from ..operator import Sum
from .where import Samples, taps


def _of_points(taps, fixed, numbers):
    batch, level, points, weights = fixed
    return Samples(batch, level, points=points, weights=weights)


def _of_taps(taps, fixed, numbers):
    (rows, cols), (batch, level, low) = taps, fixed
    return Samples(batch, level, rows=rows, cols=cols, low=low)


# fixed: batch and level [R] int64, points [R, K, P, 2] of (y, x) and weights [R, K, P]
point_pool = Sum("point", __name__, _of_points, ("batch", "level", "points", "weights"))
# taps: rows and cols [R, K, P, 2]; fixed: batch, level, low [R, K, P, 2] int32
point_tap_pool = Sum("point_tap", __name__, _of_taps, ("batch", "level", "low"), taps=True)
NUMBERS = [2]  # cells of a sample on each axis: there is no setting, and torch cannot differentiate past an empty list

__all__ = ["NUMBERS", "point_pool", "point_tap_pool", "taps"]
