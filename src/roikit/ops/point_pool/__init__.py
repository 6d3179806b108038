"""Sums over free bilinear sample points: y[r, c, k] = Σ_p w[r, k, p] · bilinear(x[b_r, c], point[r, k, p])."""

from .api import pool, taps

__all__ = ["pool", "taps"]
